// One-shot timers for connections: a binary heap of intrusive nodes, driven by a single uv_timer.
//
// A connection owns one Timer and keeps only its nearest deadline in it. Idle time-outs are lazy:
// activity updates a timestamp, and when the timer fires early the owner re-arms it for what is
// left; so the heap is touched once per time-out period, not once per packet.
#ifndef TLSFARM_TIMERS_H_
#define TLSFARM_TIMERS_H_

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tlsfarm {

class Timer {
 public:
  // May arm itself again, may bury its owner.
  virtual void onTimer() = 0;
  bool armed() const { return index_ != kIdle; }

 protected:
  ~Timer() = default;

 private:
  friend class TimerHeap;
  static constexpr size_t kIdle = SIZE_MAX;
  uint64_t deadlineMs_ = 0;
  size_t index_ = kIdle;
};

class TimerHeap {
 public:
  void arm(Timer* timer, uint64_t deadlineMs) {
    if (timer->index_ == Timer::kIdle) {
      timer->index_ = heap_.size();
      heap_.push_back(timer);
      timer->deadlineMs_ = deadlineMs;
      up(timer->index_);
      return;
    }
    const uint64_t before = timer->deadlineMs_;
    timer->deadlineMs_ = deadlineMs;
    if (deadlineMs < before) {
      up(timer->index_);
    } else {
      down(timer->index_);
    }
  }

  void cancel(Timer* timer) {
    const size_t at = timer->index_;
    if (at == Timer::kIdle) return;
    timer->index_ = Timer::kIdle;
    Timer* last = heap_.back();
    heap_.pop_back();
    if (last == timer) return;
    heap_[at] = last;
    last->index_ = at;
    up(at);
    down(last->index_);
  }

  // The next timer whose deadline has come, taken off the heap; null when there is none.
  Timer* popDue(uint64_t nowMs) {
    if (heap_.empty() || heap_[0]->deadlineMs_ > nowMs) return nullptr;
    Timer* timer = heap_[0];
    cancel(timer);
    return timer;
  }

  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }
  uint64_t nextMs() const {
    assert(!heap_.empty());
    return heap_[0]->deadlineMs_;
  }

 private:
  void place(size_t at, Timer* timer) {
    heap_[at] = timer;
    timer->index_ = at;
  }

  void up(size_t at) {
    Timer* timer = heap_[at];
    while (at > 0) {
      const size_t parent = (at - 1) / 2;
      if (heap_[parent]->deadlineMs_ <= timer->deadlineMs_) break;
      place(at, heap_[parent]);
      at = parent;
    }
    place(at, timer);
  }

  void down(size_t at) {
    Timer* timer = heap_[at];
    for (;;) {
      size_t child = 2 * at + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1]->deadlineMs_ < heap_[child]->deadlineMs_) {
        child += 1;
      }
      if (heap_[child]->deadlineMs_ >= timer->deadlineMs_) break;
      place(at, heap_[child]);
      at = child;
    }
    place(at, timer);
  }

  std::vector<Timer*> heap_;
};

}  // namespace tlsfarm

#endif
