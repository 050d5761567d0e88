// The terminator's data plane: finishes handshakes on fibers, speaks plaintext to the upstream.
#ifndef TLSFARM_TERMINATOR_H_
#define TLSFARM_TERMINATOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "chunk.h"
#include "counters.h"
#include "events.h"
#include "plane_limits.h"
#include "listener.h"
#include "offload_engine.h"
#include "reactor.h"
#include "routable_id.h"
#include "session_callbacks.h"
#include "session_table.h"
#include "tls_context.h"

namespace tlsfarm {

class TerminatorConnection;

class TerminatorPolicy {
 public:
  virtual void events(const int32_t* values, size_t length) = 0;

 protected:
  ~TerminatorPolicy() = default;
};

struct TerminatorConfig {
  int listenFd = -1;
  SocketAddress upstream;
  Limits limits;
  Timeouts timeouts;
  TlsConfig tls;
  uint32_t maxFibers = 256;
  int sessionTableFd = -1;
  bool routable = false;
  uint8_t idEpoch = 0;
  uint32_t nodeId = 0;
  uint8_t idKey1[32] = {};
  uint8_t idKey2[32] = {};
  double* counters = nullptr;  // TerminatorCounter::count_ of them
};

class Terminator final : public Reactor::Turn, public Acceptor {
 public:
  Terminator(TerminatorConfig config, std::unique_ptr<Device> device, TerminatorPolicy* policy);
  ~Terminator();
  // Empty, or what is wrong.
  std::string start(uv_loop_t* loop);
  void drain(bool final);
  void close(void (*closed)(void*), void* context);

  void onTurn() override;
  bool wantsTurn() const override;
  void onAccepted(int fd, const SocketAddress& peer) override;
  bool hasRoom() const override;
  void onAcceptPaused(int error) override;
  void onAcceptResumed() override;

  // For connections.
  Reactor& reactor() { return reactor_; }
  const TerminatorConfig& config() const { return config_; }
  OffloadEngine& engine() { return engine_; }
  ChunkPool& chunks() { return chunks_; }
  SSL_CTX* sslCtx() { return tls_->sslCtx(); }
  void count(TerminatorCounter name, double by = 1) { counters_.add(name, by); }
  void emit(Event kind, int32_t detail);
  // The fiber pool was exhausted: the connection is called back, in turn, when a job has ended.
  // `first`: it was called back before and found the fiber taken, so it keeps its place.
  void waitForFiber(TerminatorConnection* connection, bool first);
  bool fibersAwaited() const { return fiberQueueHead_ != nullptr; }
  void leaveFiberQueue(TerminatorConnection* connection);
  void fiberReleased();
  void gone(TerminatorConnection* connection);

 private:
  // No fiber could be made although none is in use (no memory for its stack): nobody will release one,
  // so the queue is looked at again after a while.
  class FiberRetry final : public Timer {
   public:
    Terminator* terminator = nullptr;
    void onTimer() override { terminator->fiberReleased(); }
  };

  TerminatorConfig config_;
  TerminatorPolicy* policy_;
  Reactor reactor_;
  Listener listener_;
  ChunkPool chunks_;
  Counters<TerminatorCounter> counters_;
  EventBatch events_;
  RoutableIdCodec codec_;
  std::unique_ptr<SessionTable> table_;
  // Before the context: its keys name the engine until they are freed.
  OffloadEngine engine_;
  FiberRetry fiberRetry_;
  std::unique_ptr<TlsContext> tls_;
  std::unique_ptr<SessionCallbacks> sessions_;
  TerminatorConnection* all_ = nullptr;
  TerminatorConnection* fiberQueueHead_ = nullptr;
  TerminatorConnection* fiberQueueTail_ = nullptr;
  uint32_t connections_ = 0;
  bool draining_ = false;
  bool drainReported_ = false;
  bool closing_ = false;
};

}  // namespace tlsfarm

#endif
