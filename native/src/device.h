// What can execute private-key operations: inline software, the test device, later threads, the
// multi-buffer kernel, a card, a remote signer.
//
// `submit` takes its own reference on an accepted operation. `poll` finishes what is ready and calls
// `Completion::completed` for each, in whatever order the device likes; it may be called from a fiber
// and therefore must not call into JavaScript or resume anybody. Nothing here blocks.
#ifndef TLSFARM_DEVICE_H_
#define TLSFARM_DEVICE_H_

#include <cstdint>

#include "operation.h"

namespace tlsfarm {

enum class Submit : uint8_t {
  kAccepted,  // in flight; `completed` will be called from a later poll
  kDone,      // computed at once: operation->done and ->ok are set, no `completed` call
  kRetry,     // the ring is full: poll and try again, or keep it
  kRefused,   // this device cannot do it: compute in software
};

class Completion {
 public:
  // The device has dropped its interest: buffers are the caller's again. Called with the device's
  // reference still held; the device releases it afterwards.
  virtual void completed(Operation* operation) = 0;

 protected:
  ~Completion() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual Submit submit(Operation* operation) = 0;
  // Returns how many operations it completed.
  virtual int poll(Completion* completion) = 0;
  virtual int inFlight() const = 0;
  // False: the device owns the buffers until it completes, so a paused handshake must wait (zombie).
  virtual bool cancellable() const = 0;
  // True: it advances only by poll(), so the loop must not sleep while something is in flight.
  virtual bool needsPolling() const = 0;
  // Drop everything in flight (process end). Every reference is released.
  virtual void close() = 0;
};

}  // namespace tlsfarm

#endif
