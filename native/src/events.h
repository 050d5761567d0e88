// What happened, for JavaScript: triples of Int32 (kind, terminator, detail), one call per iteration.
// The kinds are native/index.ts's EVENT_* constants.
#ifndef TLSFARM_EVENTS_H_
#define TLSFARM_EVENTS_H_

#include <cstdint>
#include <vector>

namespace tlsfarm {

enum class Event : int32_t {
  kAnswered = 1,
  kRefused = 2,
  kSilent = 3,
  kExhausted = 4,
  kAcceptPaused = 5,
  kAcceptResumed = 6,
  kDrained = 7,
  kUpstreamFailed = 8,
};

class EventBatch {
 public:
  static constexpr size_t kMaxEvents = 256;

  // False: dropped. Bounded: under a storm of failures the counters still tell the number.
  bool push(Event kind, int32_t terminator, int32_t detail) {
    if (values_.size() >= kMaxEvents * 3) {
      if (kind != Event::kDrained) return false;
      values_.resize(values_.size() - 3);
    }
    values_.push_back(static_cast<int32_t>(kind));
    values_.push_back(terminator);
    values_.push_back(detail);
    return true;
  }
  bool empty() const { return values_.empty(); }
  std::vector<int32_t>& values() { return values_; }

 private:
  std::vector<int32_t> values_;
};

}  // namespace tlsfarm

#endif
