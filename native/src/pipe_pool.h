// Pipes for splice(2), bounded: an unprivileged user may fill 1,024 pipes of 64 KiB
// (pipe-user-pages-soft); a large flow that gets none copies instead.
#ifndef TLSFARM_PIPE_POOL_H_
#define TLSFARM_PIPE_POOL_H_

#include <cstddef>
#include <vector>

namespace tlsfarm {

struct Pipe {
  int readFd = -1;
  int writeFd = -1;
  size_t capacity = 0;
  size_t held = 0;  // bytes in it
};

class PipePool {
 public:
  explicit PipePool(size_t limit) : limit_(limit) {}
  ~PipePool();
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  // Null at the limit or when the kernel refuses one.
  Pipe* take();
  // An empty pipe goes back to the pool; one that still holds bytes is thrown away.
  void give(Pipe* pipe);
  size_t inUse() const { return open_ - free_.size(); }

 private:
  size_t limit_;
  size_t open_ = 0;
  std::vector<Pipe*> free_;
};

}  // namespace tlsfarm

#endif
