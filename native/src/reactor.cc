#include "reactor.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace tlsfarm {

namespace {
constexpr int kEventsPerWait = 256;
// Rounds of epoll_wait in one libuv callback: enough to empty bursts, few enough that Node's own
// timers and IPC get their turn.
constexpr int kRoundsPerServe = 4;
}  // namespace

int Reactor::open(uv_loop_t* loop, Turn* turn) {
  loop_ = loop;
  turn_ = turn;
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return -errno;
  int error = uv_poll_init(loop, &poll_, epoll_);
  if (error != 0) {
    ::close(epoll_);
    epoll_ = -1;
    return error;
  }
  uv_timer_init(loop, &timer_);
  uv_check_init(loop, &check_);
  uv_idle_init(loop, &idle_);
  poll_.data = timer_.data = check_.data = idle_.data = this;
  openHandles_ = 4;
  uv_poll_start(&poll_, UV_READABLE, onPoll);
  uv_check_start(&check_, onCheck);
  // Only the poll handle keeps the process alive: a timer or a hook is no reason to stay.
  uv_unref(reinterpret_cast<uv_handle_t*>(&timer_));
  uv_unref(reinterpret_cast<uv_handle_t*>(&check_));
  return 0;
}

void Reactor::close(void (*closed)(void*), void* context) {
  if (closing_) return;
  closing_ = true;
  if (epoll_ < 0) {
    closed(context);  // never opened: nothing to wait for
    return;
  }
  closed_ = closed;
  closedContext_ = context;
  while (deferredHead_ != nullptr) undefer(deferredHead_);
  uv_poll_stop(&poll_);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), onHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), onHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&check_), onHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), onHandleClosed);
}

void Reactor::onHandleClosed(uv_handle_t* handle) {
  auto* self = static_cast<Reactor*>(handle->data);
  if (--self->openHandles_ > 0) return;
  ::close(self->epoll_);
  self->epoll_ = -1;
  // Not before: the caller of close() may be one of them.
  self->freeBuried();
  self->closed_(self->closedContext_);
}

int Reactor::add(int fd, uint32_t events, EventHandler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void Reactor::remove(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

void Reactor::arm(Timer* timer, uint64_t inMs) {
  timers_.arm(timer, nowMs() + inMs);
  reschedule();
}

// One uv_timer stands for the whole heap. It is only ever moved to an earlier time here; a timer
// that was cancelled costs one early wake-up at most.
void Reactor::reschedule() {
  if (timers_.empty() || closing_) return;
  const uint64_t next = timers_.nextMs();
  if (next >= scheduledMs_) return;
  scheduledMs_ = next;
  const uint64_t now = nowMs();
  uv_timer_start(&timer_, onTimer, next > now ? next - now : 0, 0);
  uv_unref(reinterpret_cast<uv_handle_t*>(&timer_));
}

void Reactor::runTimers() {
  scheduledMs_ = UINT64_MAX;
  const uint64_t now = nowMs();
  while (Timer* timer = timers_.popDue(now)) timer->onTimer();
  reschedule();
}

void Reactor::defer(Deferred* deferred) {
  if (deferred->deferred_ || closing_) return;
  deferred->deferred_ = true;
  deferred->nextDeferred_ = nullptr;
  deferred->previousDeferred_ = deferredTail_;
  if (deferredTail_ != nullptr) {
    deferredTail_->nextDeferred_ = deferred;
  } else {
    deferredHead_ = deferred;
  }
  deferredTail_ = deferred;
  wake();
}

void Reactor::undefer(Deferred* deferred) {
  if (!deferred->deferred_) return;
  deferred->deferred_ = false;
  if (deferred->previousDeferred_ != nullptr) {
    deferred->previousDeferred_->nextDeferred_ = deferred->nextDeferred_;
  } else {
    deferredHead_ = deferred->nextDeferred_;
  }
  if (deferred->nextDeferred_ != nullptr) {
    deferred->nextDeferred_->previousDeferred_ = deferred->previousDeferred_;
  } else {
    deferredTail_ = deferred->previousDeferred_;
  }
  deferred->nextDeferred_ = deferred->previousDeferred_ = nullptr;
}

void Reactor::bury(Buried* object) {
  object->nextBuried_ = buried_;
  buried_ = object;
  wake();
}

void Reactor::freeBuried() {
  while (buried_ != nullptr) {
    Buried* object = buried_;
    buried_ = object->nextBuried_;
    delete object;
  }
}

void Reactor::wake() {
  // Inside an iteration the end of the turn is still to come; it sees for itself what is left.
  if (inTurn_ || idling_ || closing_) return;
  idling_ = true;
  uv_idle_start(&idle_, onIdle);
}

void Reactor::reference(bool on) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&poll_);
  if (on) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void Reactor::serve() {
  epoll_event events[kEventsPerWait];
  for (int round = 0; round < kRoundsPerServe; ++round) {
    const int count = epoll_wait(epoll_, events, kEventsPerWait, 0);
    for (int i = 0; i < count; ++i) {
      static_cast<EventHandler*>(events[i].data.ptr)->onEvents(events[i].events);
    }
    if (closing_ || count < kEventsPerWait) return;
  }
}

void Reactor::endTurn() {
  inTurn_ = true;
  turn_->onTurn();
  if (closing_) return;
  // Only what is on the list now: work that defers itself again waits for the next iteration.
  Deferred* last = deferredTail_;
  while (deferredHead_ != nullptr) {
    Deferred* deferred = deferredHead_;
    undefer(deferred);
    deferred->onDeferred();
    if (closing_) return;
    // `last` may have been taken off the list by somebody else's work: then the list runs to its
    // end, which is bounded because nothing defers itself without having done a full budget.
    if (deferred == last) break;
  }
  freeBuried();
  inTurn_ = false;
  if (deferredHead_ != nullptr || turn_->wantsTurn()) {
    wake();
  } else if (idling_) {
    idling_ = false;
    uv_idle_stop(&idle_);
  }
}

void Reactor::onPoll(uv_poll_t* handle, int status, int) {
  auto* self = static_cast<Reactor*>(handle->data);
  if (status < 0 || self->closing_) return;
  self->wakeUps_ += 1;
  // libuv reads the clock before it sleeps: without this every deadline set in this turn would be
  // early by the time slept.
  uv_update_time(self->loop_);
  self->inTurn_ = true;
  self->serve();
}

void Reactor::onTimer(uv_timer_t* handle) { static_cast<Reactor*>(handle->data)->runTimers(); }

void Reactor::onCheck(uv_check_t* handle) {
  auto* self = static_cast<Reactor*>(handle->data);
  if (!self->closing_) self->endTurn();
}

void Reactor::onIdle(uv_idle_t*) {}

}  // namespace tlsfarm
