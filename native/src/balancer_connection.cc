#include "balancer_connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>

namespace tlsfarm {

using Name = BalancerCounter;

namespace {
constexpr size_t kFirstHelloBytes = 2048;  // a post-quantum hello is 1.7 KB
constexpr uint64_t kShortageRetryMs = 20;
// RFC 8446 section 6: alert record, fatal(2), internal_error(80). All terminators failed; a client
// that is told so says something better than "connection closed".
constexpr uint8_t kInternalErrorAlert[] = {21, 3, 3, 0, 2, 2, 80};

// Our own shortage, not the terminator's fault.
bool isLocalShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == EADDRNOTAVAIL || error == EAGAIN;
}
}  // namespace

BalancerConnection::BalancerConnection(Balancer* balancer, int fd, const SocketAddress& peer)
    : balancer_(balancer), peer_(peer) {
  client_.attach(fd, this);
  startedMs_ = stateSinceMs_ = lastActiveMs_ = balancer->reactor().nowMs();
}

BalancerConnection::~BalancerConnection() { free(hello_); }

bool BalancerConnection::start() {
  balancer_->reactor().arm(this, balancer_->config().timeouts.helloMs);
  return balancer_->reactor().add(client_.fd, Endpoint::kEvents, &client_) == 0;
}

void BalancerConnection::onEndpoint(Endpoint* endpoint) {
  switch (state_) {
    case State::kGather:
      gather();
      return;
    case State::kConnect:
    case State::kAnswer:
      if (endpoint == &client_) {
        // The client's own data waits in the kernel until somebody answers; only its death matters.
        if (client_.failed) {
          balancer_->count(Name::clientReset);
          resetBoth(&client_);
        }
        return;
      }
      if (state_ == State::kConnect) {
        if (server_.failed) {
          const int error = socketError(server_.fd);
          balancer_->count(Name::connectRefused);
          candidateFailed(Event::kRefused, error);
          return;
        }
        if (server_.writable) sendHello();
        return;
      }
      awaitAnswer();
      return;
    case State::kShortage:
      if (endpoint == &client_ && client_.failed) {
        balancer_->count(Name::clientReset);
        close();
      }
      return;
    case State::kRelay:
      relay();
      return;
    case State::kClosed:
      return;
  }
}

void BalancerConnection::onTimer() {
  Reactor& reactor = balancer_->reactor();
  const Timeouts& timeouts = balancer_->config().timeouts;
  switch (state_) {
    case State::kGather:
      balancer_->count(Name::helloTimeout);
      close();
      return;
    case State::kConnect:
      balancer_->count(Name::connectTimeout);
      candidateFailed(Event::kSilent, 0);
      return;
    case State::kAnswer:
      balancer_->count(Name::firstByteTimeout);
      candidateFailed(Event::kSilent, 0);
      return;
    case State::kShortage:
      connectNext();
      return;
    case State::kRelay: {
      const uint64_t idleMs = reactor.nowMs() - lastActiveMs_;
      if (idleMs < timeouts.idleMs) {
        reactor.arm(this, timeouts.idleMs - idleMs);
        return;
      }
      balancer_->count(Name::idleTimeout);
      resetBoth(nullptr);
      return;
    }
    case State::kClosed:
      return;
  }
}

void BalancerConnection::onDeferred() {
  if (state_ == State::kRelay) relay();
}

bool BalancerConnection::growHello() {
  const size_t wanted =
      helloCapacity_ == 0 ? kFirstHelloBytes : std::min(helloCapacity_ * 4, HelloFramer::kMaxBytes);
  auto* bigger = static_cast<uint8_t*>(realloc(hello_, wanted));
  if (bigger == nullptr) return false;
  hello_ = bigger;
  helloCapacity_ = wanted;
  return true;
}

void BalancerConnection::gather() {
  while (client_.readable) {
    if (helloLength_ == helloCapacity_ && !growHello()) {
      close();
      return;
    }
    const size_t room = helloCapacity_ - helloLength_;
    const ssize_t n = recv(client_.fd, hello_ + helloLength_, room, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        client_.readable = false;
        return;
      }
      balancer_->count(Name::clientGoneEarly);
      close();
      return;
    }
    if (n == 0) {
      balancer_->count(Name::clientGoneEarly);
      close();
      return;
    }
    if (static_cast<size_t>(n) < room && !client_.hungUp) client_.readable = false;
    helloLength_ += static_cast<size_t>(n);
    switch (framer_.feed(hello_, helloLength_)) {
      case HelloFramer::State::kIncomplete:
        continue;
      case HelloFramer::State::kWhole:
        balancer_->count(Name::helloWhole);
        route();
        return;
      case HelloFramer::State::kNotTls:
        balancer_->count(Name::helloNotTls);
        close();
        return;
      case HelloFramer::State::kTooLarge:
        balancer_->count(Name::helloTooLarge);
        close();
        return;
    }
  }
}

void BalancerConnection::route() {
  balancer_->decided(this);
  balancer_->count(Name::routeCalls);
  const int count = balancer_->policy().route(hello_, framer_.helloEnd(), peer_, candidates_,
                                              kMaxCandidates);
  if (state_ == State::kClosed) return;  // the data plane was closed from inside the call
  if (count < 0) {
    balancer_->count(Name::routeRefused);
    close();
    return;
  }
  candidateCount_ = static_cast<uint8_t>(std::min(count, kMaxCandidates));
  candidateNext_ = 0;
  stateSinceMs_ = balancer_->reactor().nowMs();
  connectNext();
}

void BalancerConnection::connectNext() {
  const BalancerConfig& config = balancer_->config();
  Reactor& reactor = balancer_->reactor();
  if (client_.failed) {
    // Its hello and its reset came in one event: no other will tell.
    balancer_->count(Name::clientReset);
    resetBoth(&client_);
    return;
  }
  while (candidateNext_ < candidateCount_) {
    terminator_ = candidates_[candidateNext_];
    const SocketAddress& address = config.terminators[terminator_];
    const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? errno : 0;
    if (fd >= 0) {
      if (address.family() != AF_UNIX) setTcpOptions(fd, config.timeouts.tcp);
      if (connect(fd, address.raw(), address.length) != 0 && errno != EINPROGRESS) {
        error = errno;
        ::close(fd);
      }
    }
    if (error != 0 && isLocalShortage(error)) {
      balancer_->count(Name::localExhausted);
      balancer_->emit(Event::kExhausted, terminator_, error);
      if (reactor.nowMs() - stateSinceMs_ >= config.timeouts.connectMs) {
        giveUp();
        return;
      }
      state_ = State::kShortage;
      reactor.arm(this, kShortageRetryMs);
      return;
    }
    candidateNext_ += 1;
    if (error != 0) {
      balancer_->count(Name::connectRefused);
      balancer_->setSuspect(terminator_, true);
      balancer_->emit(Event::kRefused, terminator_, error);
      continue;
    }
    balancer_->count(Name::connects);
    if (candidateNext_ > 1) balancer_->count(Name::retried);
    server_.attach(fd, this);
    config.live[terminator_] += 1;
    live_ = true;
    helloSent_ = 0;
    state_ = State::kConnect;
    reactor.arm(this, config.timeouts.connectMs);
    if (reactor.add(fd, Endpoint::kEvents, &server_) != 0) {
      leaveTerminator();
      giveUp();
      return;
    }
    // Within one machine or rack the TCP handshake is often over already: try, before waiting for
    // the event.
    sendHello();
    return;
  }
  giveUp();
}

// Replays what was gathered. The first byte that goes through proves the connect.
void BalancerConnection::sendHello() {
  while (helloSent_ < helloLength_) {
    const ssize_t n =
        send(server_.fd, hello_ + helloSent_, helloLength_ - helloSent_, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == ENOTCONN) {
        server_.writable = false;
        break;
      }
      const int error = errno;
      balancer_->count(Name::connectRefused);
      candidateFailed(Event::kRefused, error);
      return;
    }
    helloSent_ += static_cast<size_t>(n);
  }
  if (helloSent_ == 0) return;  // still connecting
  if (state_ == State::kConnect) {
    state_ = State::kAnswer;
    stateSinceMs_ = balancer_->reactor().nowMs();
    balancer_->reactor().arm(this, balancer_->config().timeouts.firstByteMs);
  }
}

void BalancerConnection::awaitAnswer() {
  if (server_.writable && helloSent_ < helloLength_) {
    sendHello();
    if (state_ != State::kAnswer) return;
  }
  if (!server_.readable) return;
  uint8_t first;
  ssize_t n;
  do {
    n = recv(server_.fd, &first, 1, MSG_PEEK);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) {
    server_.readable = false;
    return;
  }
  if (n <= 0) {
    const int error = n == 0 ? 0 : errno;
    balancer_->count(Name::closedBeforeFirstByte);
    candidateFailed(Event::kRefused, error);
    return;
  }
  Reactor& reactor = balancer_->reactor();
  balancer_->count(Name::answered);
  if (balancer_->suspect(terminator_)) {
    const auto tookMs = static_cast<int32_t>(reactor.nowMs() - stateSinceMs_);
    // A batch that is full drops it: then the next answer is the news.
    if (balancer_->emit(Event::kAnswered, terminator_, tookMs)) {
      balancer_->setSuspect(terminator_, false);
    }
  }
  if (helloSent_ < helloLength_) {
    up_.prepend(balancer_->pools(), hello_ + helloSent_, helloLength_ - helloSent_);
  }
  up_.moved = helloSent_;
  free(hello_);
  hello_ = nullptr;
  state_ = State::kRelay;
  balancer_->count(Name::relaying);
  lastActiveMs_ = reactor.nowMs();
  reactor.arm(this, balancer_->config().timeouts.idleMs);
  client_.writable = true;
  relay();
}

// The client has seen nothing yet: another terminator can serve it.
void BalancerConnection::candidateFailed(Event kind, int32_t detail) {
  balancer_->setSuspect(terminator_, true);
  balancer_->emit(kind, terminator_, detail);
  leaveTerminator();
  stateSinceMs_ = balancer_->reactor().nowMs();
  connectNext();
}

void BalancerConnection::leaveTerminator() {
  server_.close(true);
  if (live_) balancer_->config().live[terminator_] -= 1;
  live_ = false;
}

void BalancerConnection::giveUp() {
  balancer_->count(Name::noTerminator);
  if (client_.open()) {
    const ssize_t ignored =
        send(client_.fd, kInternalErrorAlert, sizeof kInternalErrorAlert, MSG_NOSIGNAL);
    (void)ignored;
  }
  close();
}

void BalancerConnection::relay() {
  Reactor& reactor = balancer_->reactor();
  PumpPools& pools = balancer_->pools();
  const uint64_t before = up_.moved + down_.moved;
  const PumpResult down = down_.run(pools, server_, client_);
  const PumpResult up = up_.run(pools, client_, server_);
  if (up_.moved + down_.moved != before) lastActiveMs_ = reactor.nowMs();
  if (up == PumpResult::kReset || client_.failed || client_.broken) {
    // A dead client can take nothing more, whatever the terminator still has for it.
    balancer_->count(Name::clientReset);
    resetBoth(&client_);
    return;
  }
  if (down == PumpResult::kReset) {
    balancer_->count(Name::terminatorReset);
    resetBoth(&server_);
    return;
  }
  if (up == PumpResult::kFinished && down == PumpResult::kFinished) {
    balancer_->count(Name::closedClean);
    close();
    return;
  }
  if (up == PumpResult::kBudget || down == PumpResult::kBudget) reactor.defer(this);
}

// A reset on one side is a reset on the other: an orderly FIN would make a truncated stream look
// whole.
void BalancerConnection::resetBoth(Endpoint* dead) {
  if (dead != &client_) client_.close(true);
  if (dead != &server_) server_.close(true);
  close();
}

void BalancerConnection::shed() {
  balancer_->count(Name::helloShed);
  close();
}

void BalancerConnection::abort() { resetBoth(nullptr); }

void BalancerConnection::close() {
  if (state_ == State::kClosed) return;
  if (state_ == State::kRelay) balancer_->count(Name::relaying, -1);
  state_ = State::kClosed;
  Reactor& reactor = balancer_->reactor();
  reactor.disarm(this);
  reactor.undefer(this);
  balancer_->count(Name::bytesToTerminator, static_cast<double>(up_.moved));
  balancer_->count(Name::bytesToClient, static_cast<double>(down_.moved));
  client_.close();
  server_.close();
  if (live_) balancer_->config().live[terminator_] -= 1;
  live_ = false;
  up_.release(balancer_->pools());
  down_.release(balancer_->pools());
  balancer_->gone(this);
}

}  // namespace tlsfarm
