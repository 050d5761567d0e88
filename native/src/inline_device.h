// The device that is none: every operation is computed at once, on the caller's stack and time.
#ifndef TLSFARM_INLINE_DEVICE_H_
#define TLSFARM_INLINE_DEVICE_H_

#include "device.h"

namespace tlsfarm {

class InlineDevice final : public Device {
 public:
  Submit submit(Operation* operation) override;
  int poll(Completion* completion) override;
  int inFlight() const override { return 0; }
  bool cancellable() const override { return true; }
  bool needsPolling() const override { return false; }
  void close() override {}
};

}  // namespace tlsfarm

#endif
