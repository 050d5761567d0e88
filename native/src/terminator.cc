#include "terminator.h"

#include <openssl/crypto.h>
#include <string.h>

#include "fiber_stacks.h"
#include "terminator_connection.h"

namespace tlsfarm {

using Name = TerminatorCounter;

namespace {
constexpr uint64_t kFiberRetryMs = 100;
}  // namespace

Terminator::Terminator(TerminatorConfig config, std::unique_ptr<Device> device,
                       TerminatorPolicy* policy)
    : config_(std::move(config)), policy_(policy), chunks_(64), engine_(std::move(device)) {
  counters_.bind(config_.counters);
  fiberRetry_.terminator = this;
}

Terminator::~Terminator() {
  OPENSSL_cleanse(config_.idKey1, sizeof config_.idKey1);
  OPENSSL_cleanse(config_.idKey2, sizeof config_.idKey2);
}

std::string Terminator::start(uv_loop_t* loop) {
  if (!installFiberStacks() || !initFiberPool(config_.maxFibers)) {
    return "the fibers' guarded stacks could not be set up: a fiber has already run in this process";
  }
  std::string reason;
  table_ = SessionTable::open(config_.sessionTableFd, &reason);
  if (table_ == nullptr) return "the session table cannot be used: " + reason;
  if (config_.routable &&
      !codec_.init(config_.idEpoch, config_.nodeId, config_.idKey1, config_.idKey2)) {
    return "libcrypto refused the routing keys";
  }
  TlsError error;
  tls_ = TlsContext::create(config_.tls, &engine_, &error);
  if (tls_ == nullptr) return error.code + ": " + error.message;
  // The keys live in their EVP_PKEYs now; the text must not lie about in memory.
  for (CertificatePem& pair : config_.tls.certificates) {
    OPENSSL_cleanse(pair.key.data(), pair.key.size());
    pair.key.clear();
  }
  sessions_ = std::make_unique<SessionCallbacks>(table_.get(), config_.routable ? &codec_ : nullptr,
                                                 config_.nodeId, config_.tls, tls_->libCtx(),
                                                 &counters_);
  sessions_->install(tls_->sslCtx());
  // Set on the context: an SSL's record layer takes it over when it is made.
  SSL_CTX_set_read_ahead(tls_->sslCtx(), 1);
  const int code = reactor_.open(loop, this);
  if (code != 0) return std::string("epoll: ") + strerror(-code);
  const int listening = listener_.start(&reactor_, config_.listenFd, config_.timeouts.tcp, this);
  if (listening != 0) return std::string("the listening socket: ") + strerror(-listening);
  return "";
}

void Terminator::onAccepted(int fd, const SocketAddress&) {
  count(Name::accepted);
  auto* connection = new TerminatorConnection(this, fd);
  connection->nextAll = all_;
  if (all_ != nullptr) all_->previousAll = connection;
  all_ = connection;
  connections_ += 1;
  counters_.set(Name::connections, connections_);
  if (!connection->start()) connection->abort();
}

bool Terminator::hasRoom() const { return connections_ < config_.limits.maxConnections; }

void Terminator::onAcceptPaused(int error) {
  count(Name::acceptPauses);
  events_.push(Event::kAcceptPaused, -1, error);
  reactor_.wake();
}

void Terminator::onAcceptResumed() {
  events_.push(Event::kAcceptResumed, -1, 0);
  reactor_.wake();
}

void Terminator::emit(Event kind, int32_t detail) {
  events_.push(kind, -1, detail);
  reactor_.wake();
}

void Terminator::waitForFiber(TerminatorConnection* connection, bool first) {
  connection->inFiberQueue = true;
  TerminatorConnection* previous = first ? nullptr : fiberQueueTail_;
  TerminatorConnection* next = first ? fiberQueueHead_ : nullptr;
  connection->previousInFiberQueue = previous;
  connection->nextInFiberQueue = next;
  (previous != nullptr ? previous->nextInFiberQueue : fiberQueueHead_) = connection;
  (next != nullptr ? next->previousInFiberQueue : fiberQueueTail_) = connection;
  count(Name::waitingForFiber);
  if (counters_.get(Name::paused) == 0 && counters_.get(Name::zombies) == 0) {
    reactor_.arm(&fiberRetry_, kFiberRetryMs);
  }
}

void Terminator::leaveFiberQueue(TerminatorConnection* connection) {
  if (!connection->inFiberQueue) return;
  connection->inFiberQueue = false;
  if (connection->previousInFiberQueue != nullptr) {
    connection->previousInFiberQueue->nextInFiberQueue = connection->nextInFiberQueue;
  } else {
    fiberQueueHead_ = connection->nextInFiberQueue;
  }
  if (connection->nextInFiberQueue != nullptr) {
    connection->nextInFiberQueue->previousInFiberQueue = connection->previousInFiberQueue;
  } else {
    fiberQueueTail_ = connection->previousInFiberQueue;
  }
  connection->nextInFiberQueue = connection->previousInFiberQueue = nullptr;
  count(Name::waitingForFiber, -1);
}

void Terminator::fiberReleased() {
  if (fiberQueueHead_ == nullptr) return;
  TerminatorConnection* connection = fiberQueueHead_;
  leaveFiberQueue(connection);
  connection->fiberFree();
}

void Terminator::gone(TerminatorConnection* connection) {
  leaveFiberQueue(connection);
  if (connection->previousAll != nullptr) {
    connection->previousAll->nextAll = connection->nextAll;
  } else {
    all_ = connection->nextAll;
  }
  if (connection->nextAll != nullptr) connection->nextAll->previousAll = connection->previousAll;
  connections_ -= 1;
  counters_.set(Name::connections, connections_);
  reactor_.bury(connection);
  listener_.roomMade();
}

void Terminator::drain(bool final) {
  draining_ = true;
  listener_.stop(final);
  reactor_.wake();
}

bool Terminator::wantsTurn() const {
  return engine_.hasReady() || (engine_.inFlight() > 0 && engine_.needsPolling()) ||
         !events_.empty() || (draining_ && !drainReported_ && connections_ == 0);
}

void Terminator::onTurn() {
  if (engine_.inFlight() > 0) engine_.poll();
  // Only those that are ready now: a resumed handshake may submit again.
  for (int budget = 1024; budget > 0; --budget) {
    OperationOwner* owner = engine_.popReady();
    if (owner == nullptr) break;
    static_cast<TerminatorConnection*>(owner)->resume();
  }
  const FiberStackStats fibers = fiberStackStats();
  const OffloadCounters& ops = engine_.counters();
  counters_.set(Name::fibersInUse, static_cast<double>(fibers.inUse));
  counters_.set(Name::fibersAllocated, static_cast<double>(fibers.allocated));
  counters_.set(Name::chunksInUse, static_cast<double>(chunks_.inUse()));
  counters_.set(Name::wakeUps, static_cast<double>(reactor_.wakeUps()));
  counters_.set(Name::opsSubmitted, static_cast<double>(ops.submitted));
  counters_.set(Name::opsCompleted, static_cast<double>(ops.completed));
  counters_.set(Name::opsFailed, static_cast<double>(ops.failed));
  counters_.set(Name::opsCancelled, static_cast<double>(ops.cancelled));
  counters_.set(Name::opsInFlight, engine_.inFlight());
  counters_.set(Name::opsRetried, static_cast<double>(ops.retries));
  counters_.set(Name::opsQueued, static_cast<double>(ops.queued));
  counters_.set(Name::opsInlined, static_cast<double>(ops.inlined));
  counters_.set(Name::opsVerifyFailed, static_cast<double>(ops.verifyFailed));
  counters_.set(Name::polls, static_cast<double>(ops.polls));
  counters_.set(Name::emptyPolls, static_cast<double>(ops.emptyPolls));
  counters_.set(Name::pauses, static_cast<double>(ops.pauses));
  if (draining_ && !drainReported_ && connections_ == 0) {
    drainReported_ = true;
    counters_.set(Name::drained, 1);
    events_.push(Event::kDrained, -1, 0);
  }
  if (!events_.empty()) {
    std::vector<int32_t> values;
    values.swap(events_.values());
    policy_->events(values.data(), values.size());
  }
}

void Terminator::close(void (*closed)(void*), void* context) {
  if (closing_) return;
  closing_ = true;
  listener_.stop(false);
  while (all_ != nullptr) all_->abort();
  reactor_.close(closed, context);
}

}  // namespace tlsfarm
