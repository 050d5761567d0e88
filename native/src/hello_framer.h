// Finds the end of a ClientHello in a growing buffer: record headers and the handshake header only,
// each byte looked at once however the bytes arrive. What the hello *says* is TypeScript's business
// (balancer/client-hello.ts), which sees it once, whole.
#ifndef TLSFARM_HELLO_FRAMER_H_
#define TLSFARM_HELLO_FRAMER_H_

#include <cstddef>
#include <cstdint>

namespace tlsfarm {

class HelloFramer {
 public:
  // Raw bytes including record headers. A hello of exactly this size is served.
  static constexpr size_t kMaxBytes = 65536;

  enum class State : uint8_t {
    kIncomplete,
    kWhole,
    kNotTls,
    kTooLarge,
  };

  // `bytes` is the whole buffer from its beginning, `length` never shrinks from call to call.
  State feed(const uint8_t* bytes, size_t length);
  // Raw bytes up to the end of the hello, once kWhole.
  size_t helloEnd() const { return position_; }
  static const char* name(State state);

 private:
  State finish(State state) { return state_ = state; }

  State state_ = State::kIncomplete;
  size_t position_ = 0;       // first raw byte not looked at
  size_t recordLeft_ = 0;     // payload bytes left in the current record
  size_t messageSeen_ = 0;    // handshake bytes so far
  size_t messageLength_ = 0;  // 4 + the length in the handshake header, once 4 bytes were seen
};

}  // namespace tlsfarm

#endif
