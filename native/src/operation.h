// One private-key operation on its way through a device.
//
// Lifetime (design: 80 % of the bugs of asynchronous offload are here): an operation lives on the
// heap, never on the fiber's stack, and is reference-counted. The fiber holds one reference while
// it waits, the device (or our FIFO) holds another until it has finished with the buffers. Whoever
// is last frees it. An operation that is cancelled is *failed for the fiber* at once; the device may
// still be working on it and drops its own reference when it is done.
#ifndef TLSFARM_OPERATION_H_
#define TLSFARM_OPERATION_H_

#include <openssl/evp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tlsfarm {

class OperationOwner;

enum class OperationKind : uint8_t {
  kRsaPrivate,  // input: the encoded message, exactly modulus length; output: input^d mod n
  kEcdsaSign,   // input: the digest; output: DER ECDSA-Sig-Value
};

struct Operation {
  // 4096-bit RSA is the largest thing a device takes.
  static constexpr size_t kMaxBytes = 512;

  std::atomic<int> refs{1};
  OperationKind kind = OperationKind::kRsaPrivate;
  EVP_PKEY* key = nullptr;  // the software key (default provider), one reference held
  OperationOwner* owner = nullptr;  // whom to wake; null once cancelled
  Operation* next = nullptr;        // intrusive: device queues, our FIFO
  uint32_t pollsLeft = 0;           // test device only
  bool done = false;                // the fiber may go on
  bool ok = false;                  // output is valid
  bool cancelled = false;
  bool queued = false;  // in the engine's FIFO, not yet submitted
  size_t inputLength = 0;
  size_t outputLength = 0;
  uint8_t input[kMaxBytes];
  uint8_t output[kMaxBytes];

  void ref() { refs.fetch_add(1, std::memory_order_relaxed); }
  void unref();  // cleanses both buffers before the memory goes back
};

// A connection whose handshake can be paused. Lives at least until no operation names it.
class OperationOwner {
 public:
  Operation* operation = nullptr;      // the one it waits for (one at a time per SSL)
  OperationOwner* nextReady = nullptr;  // intrusive completion queue
  bool inReadyQueue = false;

 protected:
  ~OperationOwner() = default;
};

}  // namespace tlsfarm

#endif
