#include "fiber_stacks.h"

#include <openssl/async.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace tlsfarm {

namespace {

// Full handshakes with X25519MLKEM768 and client certificates were measured at 7.4 KB.
constexpr size_t kStackBytes = 32 * 1024;

// OpenSSL frees the pool's stacks when the thread ends, after C++ destructors may have run, and hands
// `free` nothing but the address. So: plain constant-initialised globals, one size for all stacks,
// and no function statics (their guards and destructors are what would be gone).
constinit size_t pageBytes = 0;
constinit size_t inUse = 0;
constinit size_t allocated = 0;
constinit bool installed = false;
constinit bool poolOpen = false;
constinit size_t poolJobs = 0;

// Sits at the high end of every stack, on the page that is used anyway.
struct StackLink {
  StackLink* previous;
  StackLink* next;
};
constinit StackLink* stacks = nullptr;

constexpr size_t kUsableBytes = kStackBytes - sizeof(StackLink);
static_assert(kUsableBytes % 16 == 0);

void* allocateStack(size_t* size) {
  if (*size > kStackBytes) return nullptr;  // a future OpenSSL wants more than we know how to free
  const size_t total = pageBytes + kStackBytes;
  void* map = mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  char* base = static_cast<char*>(map) + pageBytes;
  if (mprotect(base, kStackBytes, PROT_READ | PROT_WRITE) != 0) {
    munmap(map, total);  // most likely vm.max_map_count: each stack takes two
    return nullptr;
  }
  madvise(map, total, MADV_DONTDUMP);  // premasters pass over it
  auto* link = reinterpret_cast<StackLink*>(base + kUsableBytes);
  link->previous = nullptr;
  link->next = stacks;
  if (stacks != nullptr) stacks->previous = link;
  stacks = link;
  inUse++;
  allocated++;
  *size = kUsableBytes;
  return base;
}

void freeStack(void* address) {
  if (address == nullptr) return;
  char* base = static_cast<char*>(address);
  auto* link = reinterpret_cast<StackLink*>(base + kUsableBytes);
  (link->previous != nullptr ? link->previous->next : stacks) = link->next;
  if (link->next != nullptr) link->next->previous = link->previous;
  munmap(base - pageBytes, pageBytes + kStackBytes);
  inUse--;
}

}  // namespace

bool installFiberStacks() {
  if (installed) return true;
  pageBytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  installed = ASYNC_set_mem_functions(allocateStack, freeStack) == 1;
  return installed;
}

bool initFiberPool(size_t maxJobs) {
  if (poolOpen) return poolJobs == 0 || (maxJobs != 0 && maxJobs <= poolJobs);
  // No fiber in advance: the pool grows with the load.
  if (ASYNC_init_thread(maxJobs, 0) != 1) return false;
  poolOpen = true;
  poolJobs = maxJobs;
  return true;
}

void closeFiberPool() {
  if (!poolOpen) return;
  ASYNC_cleanup_thread();
  poolOpen = false;
}

FiberStackStats fiberStackStats() {
  FiberStackStats stats;
  stats.inUse = inUse;
  stats.allocated = allocated;
  return stats;
}

size_t fiberStackHighWater() {
  size_t highWater = 0;
  for (const StackLink* link = stacks; link != nullptr; link = link->next) {
    // A page that was never touched reads as zero: the lowest word that is not ends the search.
    const char* top = reinterpret_cast<const char*>(link);
    const auto* base = reinterpret_cast<const uint64_t*>(top - kUsableBytes);
    constexpr size_t words = kUsableBytes / sizeof(uint64_t);
    size_t at = 0;
    while (at < words && base[at] == 0) at++;
    const size_t used = (words - at) * sizeof(uint64_t);
    if (used > highWater) highWater = used;
  }
  return highWater;
}

}  // namespace tlsfarm
