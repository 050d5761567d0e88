// What the harnesses share: a printed seed, a check that survives -DNDEBUG, the clock.
// A harness is a program without Node, built with sanitizers by run.mjs.
#ifndef TLSFARM_HARNESS_H_
#define TLSFARM_HARNESS_H_

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace harness {

inline uint64_t seed = 0;

// argv[1] repeats a run; without it the seed is drawn.
inline void begin(int argc, char** argv) {
  if (argc > 1) {
    seed = strtoull(argv[1], nullptr, 0);
  } else if (getentropy(&seed, sizeof seed) != 0) {
    abort();
  }
  printf("%s: seed 0x%016llx\n", argv[0], static_cast<unsigned long long>(seed));
  fflush(stdout);
}

// splitmix64: one per thread or process.
class Random {
 public:
  explicit Random(uint64_t stream) : state_(seed ^ (stream + 1) * 0x9e3779b97f4a7c15) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }
  void fill(void* to, size_t length) {
    auto* bytes = static_cast<uint8_t*>(to);
    for (size_t i = 0; i < length; i++) bytes[i] = static_cast<uint8_t>(next());
  }

 private:
  uint64_t state_;
};

[[noreturn]] inline void failed(const char* file, int line, const char* what) {
  fprintf(stderr, "%s:%d: %s does not hold (seed 0x%016llx)\n", file, line, what,
          static_cast<unsigned long long>(seed));
  abort();
}

}  // namespace harness

#define CHECK(what) \
  if (!(what)) harness::failed(__FILE__, __LINE__, #what)

#endif
