// The balancer's data plane: gathers hellos, asks TypeScript who should terminate them, connects,
// replays, relays. Sees no key and no plaintext.
#ifndef TLSFARM_BALANCER_H_
#define TLSFARM_BALANCER_H_

#include <cstdint>
#include <vector>

#include "chunk.h"
#include "counters.h"
#include "events.h"
#include "plane_limits.h"
#include "listener.h"
#include "pipe_pool.h"
#include "pump.h"
#include "reactor.h"

namespace tlsfarm {

class BalancerConnection;

// The way into JavaScript; implemented by the bindings.
class BalancerPolicy {
 public:
  // The hello's raw bytes. Fills `candidates` (best first), returns how many; negative: refused.
  virtual int route(const uint8_t* hello, size_t length, const SocketAddress& source,
                    uint16_t* candidates, int capacity) = 0;
  virtual void events(const int32_t* values, size_t length) = 0;

 protected:
  ~BalancerPolicy() = default;
};

struct BalancerConfig {
  int listenFd = -1;
  std::vector<SocketAddress> terminators;
  Limits limits;
  Timeouts timeouts;
  uint32_t maxPipes = 128;
  int32_t* live = nullptr;      // per terminator
  double* counters = nullptr;   // BalancerCounter::count_ of them
};

class Balancer final : public Reactor::Turn, public Acceptor {
 public:
  Balancer(BalancerConfig config, BalancerPolicy* policy);
  ~Balancer();
  // Zero, or -errno.
  int start(uv_loop_t* loop);
  void drain(bool final);
  // Drops every connection; `closed` is called when libuv has let go and the object may be freed.
  void close(void (*closed)(void*), void* context);

  void onTurn() override;
  bool wantsTurn() const override;
  void onAccepted(int fd, const SocketAddress& peer) override;
  bool hasRoom() const override;
  void onAcceptPaused(int error) override;
  void onAcceptResumed() override;

  // For connections.
  Reactor& reactor() { return reactor_; }
  const BalancerConfig& config() const { return config_; }
  BalancerPolicy& policy() { return *policy_; }
  PumpPools& pools() { return pools_; }
  void count(BalancerCounter name, double by = 1) { counters_.add(name, by); }
  // False: the batch is full, JavaScript will not hear of it.
  bool emit(Event kind, int32_t terminator, int32_t detail);
  // A terminator has failed and has not answered since: its next first byte is news.
  bool suspect(uint16_t terminator) const { return suspect_[terminator] != 0; }
  void setSuspect(uint16_t terminator, bool on) { suspect_[terminator] = on ? 1 : 0; }
  void undecided(BalancerConnection* connection);
  void decided(BalancerConnection* connection);
  void gone(BalancerConnection* connection);

 private:
  BalancerConfig config_;
  BalancerPolicy* policy_;
  Reactor reactor_;
  Listener listener_;
  ChunkPool chunks_;
  PipePool pipes_;
  PumpPools pools_;
  Counters<BalancerCounter> counters_;
  EventBatch events_;
  std::vector<uint8_t> suspect_;
  // All connections, and those whose hello is not whole yet, oldest first.
  BalancerConnection* all_ = nullptr;
  BalancerConnection* oldestUndecided_ = nullptr;
  BalancerConnection* newestUndecided_ = nullptr;
  uint32_t connections_ = 0;
  uint32_t undecided_ = 0;
  bool draining_ = false;
  bool drainReported_ = false;
  bool closing_ = false;
};

}  // namespace tlsfarm

#endif
