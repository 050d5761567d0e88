// The event loop's half that is ours: an edge-triggered epoll set that lives inside Node's libuv
// loop as a single uv_poll_t, one uv_timer for all time-outs, and an end-of-iteration hook.
//
// Everything that a turn produces (connections to run again, objects to free, events for
// JavaScript) is collected and dealt with once, in uv_check, after all sockets of the iteration
// have been served. While something is left to do, a uv_idle keeps the loop from sleeping.
#ifndef TLSFARM_REACTOR_H_
#define TLSFARM_REACTOR_H_

#include <uv.h>

#include <cstdint>
#include <vector>

#include "timers.h"

namespace tlsfarm {

// Registered with the epoll set; gets the event mask. Events of one epoll_wait may arrive after the
// handler was closed by an earlier event of the same batch: handlers check.
class EventHandler {
 public:
  virtual void onEvents(uint32_t events) = 0;

 protected:
  ~EventHandler() = default;
};

// Something to run again at the end of this iteration (fairness, resumed handshakes).
class Deferred {
 public:
  virtual void onDeferred() = 0;
  bool deferred() const { return deferred_; }

 protected:
  ~Deferred() = default;

 private:
  friend class Reactor;
  Deferred* nextDeferred_ = nullptr;
  Deferred* previousDeferred_ = nullptr;
  bool deferred_ = false;
};

// Freed at the end of the iteration, when no stale event can name it any more.
class Buried {
 public:
  virtual ~Buried() = default;

 private:
  friend class Reactor;
  Buried* nextBuried_ = nullptr;
};

class Reactor {
 public:
  // What the owner of the data plane does once per iteration.
  class Turn {
   public:
    // Before the deferred list is run.
    virtual void onTurn() = 0;
    // Asked when everything else is done: must there be another turn before the loop sleeps? (Operations
    // that only a poll finishes, events not yet delivered.)
    virtual bool wantsTurn() const = 0;

   protected:
    ~Turn() = default;
  };

  // 64 KiB of scratch for reads; contents live until the next read.
  static constexpr size_t kScratchBytes = 65536;

  // Zero, or -errno.
  int open(uv_loop_t* loop, Turn* turn);
  // Stops the handles and calls `closed(context)` when libuv has let go of the last one; only then
  // may the reactor be freed.
  void close(void (*closed)(void*), void* context);

  // Zero, or -errno. Closing the descriptor removes it.
  int add(int fd, uint32_t events, EventHandler* handler);
  void remove(int fd);

  void arm(Timer* timer, uint64_t inMs);
  void disarm(Timer* timer) { timers_.cancel(timer); }
  uint64_t nowMs() const { return uv_now(loop_); }

  void defer(Deferred* deferred);
  void undefer(Deferred* deferred);
  void bury(Buried* object);
  // Make sure that onTurn() runs before the loop sleeps.
  void wake();
  // Keeps the loop alive while it serves; off while draining lets the process end.
  void reference(bool on);

  uint8_t* scratch() { return scratch_; }
  uint64_t wakeUps() const { return wakeUps_; }

 private:
  static void onPoll(uv_poll_t* handle, int status, int events);
  static void onTimer(uv_timer_t* handle);
  static void onCheck(uv_check_t* handle);
  static void onIdle(uv_idle_t* handle);
  static void onHandleClosed(uv_handle_t* handle);

  void serve();
  void runTimers();
  void endTurn();
  void reschedule();
  void freeBuried();

  uv_loop_t* loop_ = nullptr;
  Turn* turn_ = nullptr;
  int epoll_ = -1;
  uv_poll_t poll_;
  uv_timer_t timer_;
  uv_check_t check_;
  uv_idle_t idle_;
  bool idling_ = false;
  // Between a socket event and the end of its iteration: what is produced now is dealt with there.
  bool inTurn_ = false;
  bool closing_ = false;
  int openHandles_ = 0;
  void (*closed_)(void*) = nullptr;
  void* closedContext_ = nullptr;
  TimerHeap timers_;
  uint64_t scheduledMs_ = UINT64_MAX;
  Deferred* deferredHead_ = nullptr;
  Deferred* deferredTail_ = nullptr;
  Buried* buried_ = nullptr;
  uint64_t wakeUps_ = 0;
  alignas(64) uint8_t scratch_[kScratchBytes];
};

}  // namespace tlsfarm

#endif
