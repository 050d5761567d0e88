// One client's way through the balancer.
//
//   state       waits for                      left when
//   ---------   ----------------------------   ---------------------------------------------------
//   gather      the rest of the ClientHello    whole → connect; not TLS, too large, late → closed
//   connect     the TCP handshake              established → answer; refused, late → next candidate
//   shortage    descriptors or ports of ours   20 ms later → connect again; patience over → closed
//   answer      the terminator's first byte    byte → relay; reset, EOF, silence → next candidate
//   relay       bytes, both ways               both FINs passed on, reset, idle → closed
//   closed      the end of the iteration       freed
//
// The hello is kept until `relay`: until then the client has seen nothing and another terminator
// can still serve it.
#ifndef TLSFARM_BALANCER_CONNECTION_H_
#define TLSFARM_BALANCER_CONNECTION_H_

#include <cstdint>

#include "balancer.h"
#include "endpoint.h"
#include "hello_framer.h"

namespace tlsfarm {

class BalancerConnection final : public EndpointOwner, public Timer, public Deferred, public Buried {
 public:
  BalancerConnection(Balancer* balancer, int fd, const SocketAddress& peer);
  ~BalancerConnection() override;
  // False: the descriptor could not be watched; the caller closes it.
  bool start();
  // From outside: shed, closing.
  void shed();
  void abort();

  void onEndpoint(Endpoint* endpoint) override;
  void onTimer() override;
  void onDeferred() override;

  // Intrusive lists, kept by Balancer.
  BalancerConnection* nextAll = nullptr;
  BalancerConnection* previousAll = nullptr;
  BalancerConnection* nextUndecided = nullptr;
  BalancerConnection* previousUndecided = nullptr;
  bool isUndecided = false;

 private:
  static constexpr int kMaxCandidates = 16;
  enum class State : uint8_t { kGather, kConnect, kShortage, kAnswer, kRelay, kClosed };

  void gather();
  void route();
  void connectNext();
  void sendHello();
  void awaitAnswer();
  void candidateFailed(Event kind, int32_t detail);
  void giveUp();
  void relay();
  void resetBoth(Endpoint* dead);
  void close();
  void leaveTerminator();
  bool growHello();

  Balancer* balancer_;
  Endpoint client_;
  Endpoint server_;
  State state_ = State::kGather;
  bool live_ = false;  // counted in config.live[terminator_]
  uint8_t candidateCount_ = 0;
  uint8_t candidateNext_ = 0;
  uint16_t terminator_ = 0;
  uint16_t candidates_[kMaxCandidates];
  uint8_t* hello_ = nullptr;
  size_t helloLength_ = 0;
  size_t helloCapacity_ = 0;
  size_t helloSent_ = 0;
  HelloFramer framer_;
  uint64_t startedMs_ = 0;
  uint64_t stateSinceMs_ = 0;
  uint64_t lastActiveMs_ = 0;
  Pump up_;    // client → terminator
  Pump down_;  // terminator → client
  SocketAddress peer_;
};

}  // namespace tlsfarm

#endif
