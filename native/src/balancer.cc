#include "balancer.h"

#include <unistd.h>

#include "balancer_connection.h"

namespace tlsfarm {

using Name = BalancerCounter;

Balancer::Balancer(BalancerConfig config, BalancerPolicy* policy)
    : config_(std::move(config)),
      policy_(policy),
      chunks_(64),
      pipes_(config_.maxPipes),
      pools_{reactor_.scratch(), &chunks_, &pipes_},
      suspect_(config_.terminators.size(), 0) {
  counters_.bind(config_.counters);
}

Balancer::~Balancer() = default;

int Balancer::start(uv_loop_t* loop) {
  const int error = reactor_.open(loop, this);
  if (error != 0) return error;
  return listener_.start(&reactor_, config_.listenFd, config_.timeouts.tcp, this);
}

void Balancer::onAccepted(int fd, const SocketAddress& peer) {
  count(Name::accepted);
  auto* connection = new BalancerConnection(this, fd, peer);
  connection->nextAll = all_;
  if (all_ != nullptr) all_->previousAll = connection;
  all_ = connection;
  connections_ += 1;
  counters_.set(Name::connections, connections_);
  undecided(connection);
  if (!connection->start()) connection->abort();
}

bool Balancer::hasRoom() const { return connections_ < config_.limits.maxConnections; }

void Balancer::onAcceptPaused(int error) {
  count(Name::acceptPauses);
  emit(Event::kAcceptPaused, -1, error);
}

void Balancer::onAcceptResumed() { emit(Event::kAcceptResumed, -1, 0); }

bool Balancer::emit(Event kind, int32_t terminator, int32_t detail) {
  const bool kept = events_.push(kind, terminator, detail);
  reactor_.wake();
  return kept;
}

void Balancer::undecided(BalancerConnection* connection) {
  connection->isUndecided = true;
  connection->previousUndecided = newestUndecided_;
  if (newestUndecided_ != nullptr) {
    newestUndecided_->nextUndecided = connection;
  } else {
    oldestUndecided_ = connection;
  }
  newestUndecided_ = connection;
  undecided_ += 1;
  counters_.set(Name::undecidedHellos, undecided_);
  // Somebody who opens connections and says nothing must not keep out those who speak: the one that
  // has been silent longest goes.
  if (undecided_ > config_.limits.maxUndecidedHellos) oldestUndecided_->shed();
}

void Balancer::decided(BalancerConnection* connection) {
  if (!connection->isUndecided) return;
  connection->isUndecided = false;
  if (connection->previousUndecided != nullptr) {
    connection->previousUndecided->nextUndecided = connection->nextUndecided;
  } else {
    oldestUndecided_ = connection->nextUndecided;
  }
  if (connection->nextUndecided != nullptr) {
    connection->nextUndecided->previousUndecided = connection->previousUndecided;
  } else {
    newestUndecided_ = connection->previousUndecided;
  }
  connection->nextUndecided = connection->previousUndecided = nullptr;
  undecided_ -= 1;
  counters_.set(Name::undecidedHellos, undecided_);
}

void Balancer::gone(BalancerConnection* connection) {
  decided(connection);
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

void Balancer::drain(bool final) {
  draining_ = true;
  listener_.stop(final);
  reactor_.wake();
}

bool Balancer::wantsTurn() const {
  return !events_.empty() || (draining_ && !drainReported_ && connections_ == 0);
}

void Balancer::onTurn() {
  counters_.set(Name::pipesInUse, static_cast<double>(pipes_.inUse()));
  counters_.set(Name::chunksInUse, static_cast<double>(chunks_.inUse()));
  counters_.set(Name::wakeUps, static_cast<double>(reactor_.wakeUps()));
  if (draining_ && !drainReported_ && connections_ == 0) {
    drainReported_ = true;
    counters_.set(Name::drained, 1);
    emit(Event::kDrained, -1, 0);
  }
  if (!events_.empty()) {
    std::vector<int32_t> values;
    values.swap(events_.values());
    policy_->events(values.data(), values.size());
  }
}

void Balancer::close(void (*closed)(void*), void* context) {
  if (closing_) return;
  closing_ = true;
  listener_.stop(false);
  while (all_ != nullptr) all_->abort();
  reactor_.close(closed, context);
}

}  // namespace tlsfarm
