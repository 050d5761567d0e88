// Latencies in microseconds, in log-linear buckets: 128 to each doubling, so a bucket is at most
// 0.8 % wide, and recording is an index computation and an increment.
#ifndef TLSFARM_LOAD_HISTOGRAM_H_
#define TLSFARM_LOAD_HISTOGRAM_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tlsfarm {

class LoadHistogram {
 public:
  //   bucket   0 …  127   0 … 127 µs, each exact
  //   bucket 128 …  255   128 … 255 µs, each exact
  //   bucket 256 …  383   256 … 511 µs, two to a bucket
  //   …
  static constexpr int kBits = 7;
  static constexpr uint64_t kPerDoubling = 1u << kBits;
  static constexpr int kMaxBits = 36;  // 19 hours
  static constexpr size_t kBuckets = (kMaxBits - kBits + 1) * kPerDoubling;

  void record(uint64_t us) {
    us = std::min(us, (uint64_t{1} << kMaxBits) - 1);
    counts_[indexOf(us)] += 1;
    minUs_ = count_ == 0 ? us : std::min(minUs_, us);
    maxUs_ = std::max(maxUs_, us);
    sumUs_ += us;
    count_ += 1;
  }

  uint64_t count() const { return count_; }
  uint64_t minUs() const { return minUs_; }
  uint64_t maxUs() const { return maxUs_; }
  uint64_t sumUs() const { return sumUs_; }
  uint64_t at(size_t index) const { return counts_[index]; }

  static size_t indexOf(uint64_t us) {
    if (us < kPerDoubling) return us;
    const int shift = static_cast<int>(std::bit_width(us)) - 1 - kBits;
    return static_cast<size_t>(shift + 1) * kPerDoubling + (us >> shift) - kPerDoubling;
  }

  // The largest value that falls into the bucket.
  static uint64_t upperUs(size_t index) {
    if (index < kPerDoubling) return index;
    const uint64_t shift = index / kPerDoubling - 1;
    return ((index % kPerDoubling + kPerDoubling + 1) << shift) - 1;
  }

 private:
  uint64_t counts_[kBuckets] = {};
  uint64_t count_ = 0;
  uint64_t minUs_ = 0;
  uint64_t maxUs_ = 0;
  uint64_t sumUs_ = 0;
};

}  // namespace tlsfarm

#endif
