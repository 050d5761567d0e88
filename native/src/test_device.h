// A device for tests and demonstrations: it accepts up to `depth` operations, answers each after 1 to
// `polls` polls (pseudo-random, the same in every run, so completions come out of order) and computes
// in software at that moment. It behaves like a card in everything but speed.
#ifndef TLSFARM_TEST_DEVICE_H_
#define TLSFARM_TEST_DEVICE_H_

#include "device.h"

namespace tlsfarm {

class TestDevice final : public Device {
 public:
  TestDevice(int polls, int depth, bool cancellable);
  ~TestDevice() override;
  Submit submit(Operation* operation) override;
  int poll(Completion* completion) override;
  int inFlight() const override { return inFlight_; }
  bool cancellable() const override { return cancellable_; }
  bool needsPolling() const override { return true; }
  void close() override;

  // The next results come out with one bit flipped (a faulty card), this many times.
  void corruptNext(int count) { corrupt_ = count; }

 private:
  const uint32_t polls_;
  const int depth_;
  const bool cancellable_;
  uint32_t random_ = 0x9e3779b9;  // any non-zero seed
  int inFlight_ = 0;
  int corrupt_ = 0;
  Operation* head_ = nullptr;
};

}  // namespace tlsfarm

#endif
