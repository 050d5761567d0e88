#include "test_device.h"

#include "offload_engine.h"

namespace tlsfarm {

TestDevice::TestDevice(int polls, int depth, bool cancellable)
    : polls_(polls < 1 ? 1 : static_cast<uint32_t>(polls)),
      depth_(depth < 1 ? 1 : depth),
      cancellable_(cancellable) {}

TestDevice::~TestDevice() { close(); }

Submit TestDevice::submit(Operation* operation) {
  if (inFlight_ >= depth_) return Submit::kRetry;
  // xorshift32 (Marsaglia 2003): deterministic, and no library state is touched.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  operation->pollsLeft = 1 + random_ % polls_;
  operation->ref();
  operation->next = head_;
  head_ = operation;
  inFlight_++;
  return Submit::kAccepted;
}

int TestDevice::poll(Completion* completion) {
  // Take out what is ready before anybody hears of it: `completed` sees a consistent device.
  Operation* ready = nullptr;
  for (Operation** at = &head_; *at != nullptr;) {
    Operation* op = *at;
    if (--op->pollsLeft > 0) {
      at = &op->next;
      continue;
    }
    *at = op->next;
    op->next = ready;
    ready = op;
    inFlight_--;
  }
  int finished = 0;
  while (ready != nullptr) {
    Operation* op = ready;
    ready = op->next;
    op->next = nullptr;
    // Nobody waits for a cancelled one, unless the device is to behave as if it owned the buffers.
    if (!op->cancelled || !cancellable_) computeInSoftware(op);
    if (corrupt_ > 0 && op->ok) {
      corrupt_--;
      op->output[op->outputLength / 2] ^= 1;
    }
    completion->completed(op);
    op->unref();
    finished++;
  }
  return finished;
}

void TestDevice::close() {
  while (head_ != nullptr) {
    Operation* op = head_;
    head_ = op->next;
    op->next = nullptr;
    op->unref();
  }
  inFlight_ = 0;
}

}  // namespace tlsfarm
