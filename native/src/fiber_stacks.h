// Stacks for OpenSSL's fibers (ASYNC jobs), with a guard page: hostile bytes are parsed on them, and
// OpenSSL's own are 32 KiB from malloc, where an overflow is silent.
//
//     low address                                                high address
//     | guard, PROT_NONE | 32 KiB stack, grows towards the guard        <--- |
//
// Fibers belong to the thread that started them, and so does everything here: one event loop per
// process uses it (the addon refuses to load in a Worker thread).
#ifndef TLSFARM_FIBER_STACKS_H_
#define TLSFARM_FIBER_STACKS_H_

#include <cstddef>

namespace tlsfarm {

struct FiberStackStats {
  size_t inUse = 0;      // mapped now (running, paused, or idle in OpenSSL's pool)
  size_t allocated = 0;  // mapped since the start
};

// Makes OpenSSL take its fiber stacks from here. Idempotent. False: a job already ran in this process
// with OpenSSL's own allocator, which can then no longer be replaced.
bool installFiberStacks();

// At most `maxJobs` fibers at once (0 = no limit); one more gets SSL_ERROR_WANT_ASYNC_JOB. OpenSSL's
// pool never shrinks or grows its limit: a second call succeeds if the first limit is large enough.
bool initFiberPool(size_t maxJobs);

// Gives the idle fibers and their stacks back. Only while none is paused: OpenSSL forgets those.
void closeFiberPool();

FiberStackStats fiberStackStats();

// Deepest use of any mapped stack, in bytes. Scans them all: for tests, not for every turn.
size_t fiberStackHighWater();

}  // namespace tlsfarm

#endif
