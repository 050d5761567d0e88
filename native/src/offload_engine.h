// Carries private-key operations from paused fibers to a device and back: submission, ring-full
// FIFO, completion queue, cancellation. One per event loop; single-threaded.
#ifndef TLSFARM_OFFLOAD_ENGINE_H_
#define TLSFARM_OFFLOAD_ENGINE_H_

#include <memory>

#include "device.h"

namespace tlsfarm {

struct OffloadCounters {
  uint64_t submitted = 0, completed = 0, failed = 0, retries = 0, queued = 0, inlined = 0;
  uint64_t polls = 0, emptyPolls = 0, cancelled = 0, pauses = 0, verifyFailed = 0;
};

class OffloadEngine final : public Completion {
 public:
  explicit OffloadEngine(std::unique_ptr<Device> device);
  ~OffloadEngine();

  // Called by the provider. On a fiber with an owner set: submits and pauses until done. Without a
  // job (ASYNC_get_current_job() == NULL) or without an owner: computes inline. Takes over the
  // caller's wish, not its reference. Returns operation->ok.
  bool run(Operation* operation);

  // Who is running on the fiber now; the terminator sets it around every SSL_do_handshake.
  void setCurrent(OperationOwner* owner) { current_ = owner; }

  // One device poll, then as many FIFO submissions as fit. Called by the loop, never from a fiber.
  int poll();
  // The next connection whose operation is done, in completion order; null when there is none.
  OperationOwner* popReady();
  bool hasReady() const { return readyHead_ != nullptr; }
  // Fail the owner's operation for its fiber and wake it now: the caller then calls SSL_do_handshake
  // once more and frees. False: it cannot be cancelled and the owner must live until popReady()
  // returns it (zombie). An operation still in our FIFO is always cancellable.
  bool cancel(OperationOwner* owner);

  int inFlight() const;  // device + FIFO
  bool needsPolling() const;
  const OffloadCounters& counters() const { return counters_; }
  OffloadCounters& counters() { return counters_; }

  void completed(Operation* operation) override;

 private:
  void finish(Operation* operation);  // done: its owner, if it still has one, becomes ready

  std::unique_ptr<Device> device_;
  OperationOwner* current_ = nullptr;
  OperationOwner* readyHead_ = nullptr;
  OperationOwner* readyTail_ = nullptr;
  Operation* fifoHead_ = nullptr;
  Operation* fifoTail_ = nullptr;
  int fifoLength_ = 0;
  OffloadCounters counters_;
};

// The plain software computation with the operation's own key; sets done and ok.
void computeInSoftware(Operation* operation);

}  // namespace tlsfarm

#endif
