// Bytes that could not be sent yet. One chunk per blocked direction, from a free list; idle
// connections hold none.
#ifndef TLSFARM_CHUNK_H_
#define TLSFARM_CHUNK_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tlsfarm {

struct Chunk {
  static constexpr size_t kCapacity = 65536;
  Chunk* next;
  size_t start;
  size_t end;
  uint8_t bytes[kCapacity];

  size_t length() const { return end - start; }
};

class ChunkPool {
 public:
  explicit ChunkPool(size_t keep) : keep_(keep) {}
  ~ChunkPool() {
    while (free_ != nullptr) {
      Chunk* chunk = free_;
      free_ = chunk->next;
      operator delete(chunk);
    }
  }
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  // Never null: the number in use is bounded by connections (two directions each), which are bounded.
  Chunk* take() {
    Chunk* chunk = free_;
    if (chunk != nullptr) {
      free_ = chunk->next;
      kept_ -= 1;
    } else {
      chunk = static_cast<Chunk*>(operator new(sizeof(Chunk)));
    }
    chunk->next = nullptr;
    chunk->start = chunk->end = 0;
    inUse_ += 1;
    return chunk;
  }

  Chunk* keep(const uint8_t* bytes, size_t length) {
    Chunk* chunk = take();
    memcpy(chunk->bytes, bytes, length);
    chunk->end = length;
    return chunk;
  }

  void give(Chunk* chunk) {
    if (chunk == nullptr) return;
    inUse_ -= 1;
    if (kept_ >= keep_) {
      operator delete(chunk);
      return;
    }
    chunk->next = free_;
    free_ = chunk;
    kept_ += 1;
  }

  size_t inUse() const { return inUse_; }

 private:
  Chunk* free_ = nullptr;
  size_t keep_;
  size_t kept_ = 0;
  size_t inUse_ = 0;
};

}  // namespace tlsfarm

#endif
