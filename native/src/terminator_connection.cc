#include "terminator_connection.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <sys/socket.h>

#include <algorithm>

#include "endpoint_bio.h"

namespace tlsfarm {

using Name = TerminatorCounter;

namespace {
// Bytes per direction and turn before others get theirs.
constexpr uint64_t kBudgetBytes = 256 * 1024;
// After the upstream has ended and the client has our close_notify, only the client's own end is
// awaited: not for the whole idle time-out.
constexpr uint32_t kHalfClosedMs = 60000;
// A client that keeps talking after a failed handshake is not listened to for ever.
constexpr uint32_t kLingerBytes = 256 * 1024;
}  // namespace

TerminatorConnection::TerminatorConnection(Terminator* terminator, int fd)
    : terminator_(terminator) {
  client_.attach(fd, this);
  lastActiveMs_ = terminator->reactor().nowMs();
}

TerminatorConnection::~TerminatorConnection() = default;

bool TerminatorConnection::start() {
  terminator_->count(Name::handshaking);
  terminator_->reactor().arm(this, terminator_->config().timeouts.handshakeMs);
  return terminator_->reactor().add(client_.fd, Endpoint::kEvents, &client_) == 0;
}

// Gauges follow the state in one place.
void TerminatorConnection::enter(State state) {
  auto handshaking = [](State s) {
    return s == State::kHandshake || s == State::kPaused || s == State::kQueued;
  };
  if (handshaking(state_) != handshaking(state)) {
    terminator_->count(Name::handshaking, handshaking(state) ? 1 : -1);
  }
  if ((state_ == State::kPaused) != (state == State::kPaused)) {
    terminator_->count(Name::paused, state == State::kPaused ? 1 : -1);
  }
  if ((state_ == State::kZombie) != (state == State::kZombie)) {
    terminator_->count(Name::zombies, state == State::kZombie ? 1 : -1);
  }
  state_ = state;
}

bool TerminatorConnection::createSsl() {
  ssl_ = SSL_new(terminator_->sslCtx());
  if (ssl_ == nullptr) return false;
  BIO* bio = newEndpointBio(&client_);
  if (bio == nullptr) return false;
  SSL_set_bio(ssl_, bio, bio);
  beginReadAhead(&client_);
  SSL_set_app_data(ssl_, &memo_);
  // Fibers during the handshake only: relaying never needs a private key.
  SSL_set_mode(ssl_, SSL_MODE_ASYNC);
  SSL_set_accept_state(ssl_);
  return true;
}

void TerminatorConnection::onEndpoint(Endpoint* endpoint) {
  switch (state_) {
    case State::kHandshake:
      if (client_.failed) {
        terminator_->count(Name::failedReset);
        abandon();
        return;
      }
      drive();
      return;
    case State::kPaused:
    case State::kQueued:
      // Event disorder: the flags are set, the handshake reads them when it is resumed. Only a reset
      // ends it now: nobody is left to sign for.
      if (client_.failed) {
        terminator_->count(Name::failedReset);
        abandon();
      }
      return;
    case State::kConnect:
      if (client_.failed) {
        terminator_->count(Name::clientReset);
        resetBoth();
        return;
      }
      if (endpoint != &upstream_) return;
      if (upstream_.failed) {
        upstreamFailed(socketError(upstream_.fd));
      } else if (upstream_.writable) {
        upstreamConnected();
      }
      return;
    case State::kRelay:
      relay();
      return;
    case State::kLinger:
      discardInput();
      return;
    case State::kZombie:
    case State::kClosed:
      return;
  }
}

void TerminatorConnection::onTimer() {
  Reactor& reactor = terminator_->reactor();
  const Timeouts& timeouts = terminator_->config().timeouts;
  switch (state_) {
    case State::kHandshake:
    case State::kPaused:
    case State::kQueued:
      terminator_->count(Name::handshakeTimeout);
      abandon();
      return;
    case State::kConnect:
      terminator_->count(Name::upstreamTimeout);
      upstreamFailed(ETIMEDOUT);
      return;
    case State::kRelay: {
      const uint64_t limitMs =
          closeNotifySent_ ? std::min(timeouts.idleMs, kHalfClosedMs) : timeouts.idleMs;
      const uint64_t idleMs = reactor.nowMs() - lastActiveMs_;
      if (idleMs < limitMs) {
        reactor.arm(this, limitMs - idleMs);
        return;
      }
      terminator_->count(Name::idleTimeout);
      if (!closeNotifySent_) {
        resetBoth();
      } else {
        close();
      }
      return;
    }
    case State::kLinger:
      terminator_->count(Name::lingerTimeout);
      close();
      return;
    case State::kZombie:
    case State::kClosed:
      return;
  }
}

void TerminatorConnection::onDeferred() {
  if (state_ == State::kHandshake) drive();
  if (state_ == State::kRelay) relay();
}

void TerminatorConnection::resume() {
  if (state_ == State::kPaused) {
    enter(State::kHandshake);
    drive();
  } else if (state_ == State::kZombie) {
    drive();
  }
}

void TerminatorConnection::fiberFree() {
  if (state_ != State::kQueued) return;
  enter(State::kHandshake);
  fiberGranted_ = true;
  // Not from inside somebody else's handshake step.
  terminator_->reactor().defer(this);
}

// One step of the handshake on a fiber.
void TerminatorConnection::drive() {
  if (ssl_ == nullptr) {
    // Only now: a connection that says nothing costs no SSL object.
    if (!client_.readable) return;
    if (!createSsl()) {
      terminator_->count(Name::failedOther);
      close();
      return;
    }
  }
  // Those who wait for a fiber came first. A handshake that has one parked goes on with its own.
  const bool granted = fiberGranted_;
  if (state_ != State::kZombie && !granted && SSL_waiting_for_async(ssl_) == 0 &&
      terminator_->fibersAwaited()) {
    enter(State::kQueued);
    terminator_->waitForFiber(this, false);
    return;
  }
  fiberGranted_ = false;
  OffloadEngine& engine = terminator_->engine();
  ERR_clear_error();
  engine.setCurrent(this);
  const int result = SSL_do_handshake(ssl_);
  engine.setCurrent(nullptr);
  const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);

  if (error == SSL_ERROR_WANT_ASYNC) {
    if (state_ != State::kZombie) enter(State::kPaused);
    return;
  }
  if (state_ == State::kZombie) {
    close();
    terminator_->fiberReleased();
    return;
  }
  switch (error) {
    case SSL_ERROR_NONE:
      handshakeDone();
      break;
    case SSL_ERROR_WANT_ASYNC_JOB:
      enter(State::kQueued);
      terminator_->waitForFiber(this, granted);
      return;  // no fiber was used, none was released
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      break;
    default:
      handshakeFailed(error);
      break;
  }
  terminator_->fiberReleased();
}

void TerminatorConnection::handshakeDone() {
  const bool resumed = SSL_session_reused(ssl_) == 1;
  const bool tls13 = SSL_version(ssl_) == TLS1_3_VERSION;
  terminator_->count(tls13 ? (resumed ? Name::handshakeResumed13 : Name::handshakeFull13)
                           : (resumed ? Name::handshakeResumed12 : Name::handshakeFull12));
  if (!resumed && memo_.offered) terminator_->count(Name::offeredButFull);
  SSL_clear_mode(ssl_, SSL_MODE_ASYNC);
  lastActiveMs_ = terminator_->reactor().nowMs();
  connectUpstream();
}

void TerminatorConnection::countFailure(int sslError) {
  if (sslError == SSL_ERROR_SYSCALL) {
    terminator_->count(client_.failed ? Name::failedReset : Name::failedEof);
    return;
  }
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_REASON(code);
  Name name = Name::failedOther;
  if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
    switch (reason) {
      case SSL_R_HTTP_REQUEST:
      case SSL_R_HTTPS_PROXY_REQUEST:
      case SSL_R_WRONG_VERSION_NUMBER:
      case SSL_R_UNEXPECTED_MESSAGE:
      case SSL_R_BAD_RECORD_TYPE:
      case SSL_R_RECORD_LENGTH_MISMATCH:
      case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
      case SSL_R_PACKET_LENGTH_TOO_LONG:
      case SSL_R_RECORD_TOO_SMALL:
        name = Name::failedNotTls;
        break;
      case SSL_R_UNSUPPORTED_PROTOCOL:
      case SSL_R_VERSION_TOO_LOW:
      case SSL_R_NO_PROTOCOLS_AVAILABLE:
        name = Name::failedVersion;
        break;
      case SSL_R_NO_SHARED_CIPHER:
        name = Name::failedCipher;
        break;
      case SSL_R_NO_SHARED_GROUPS:
      case SSL_R_NO_SUITABLE_GROUPS:
      case SSL_R_NO_SUITABLE_KEY_SHARE:
        name = Name::failedGroup;
        break;
      case SSL_R_NO_APPLICATION_PROTOCOL:
        name = Name::failedAlpn;
        break;
      case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        name = Name::failedEof;
        break;
      default:
        // Alerts that the client sent: reason = 1000 + AlertDescription (RFC 8446 section 6).
        if (reason >= SSL_AD_REASON_OFFSET) name = Name::failedClientAlert;
        break;
    }
  }
  terminator_->count(name);
}

void TerminatorConnection::handshakeFailed(int sslError) {
  countFailure(sslError);
  ERR_clear_error();
  // OpenSSL has sent its alert. Closing at once with bytes unread would turn it into a reset that can
  // overtake it.
  if (sslError == SSL_ERROR_SSL && client_.open() && !client_.failed && !client_.eof) {
    linger();
  } else {
    close();
  }
}

void TerminatorConnection::abandon() {
  terminator_->count(Name::handshakeAbandoned);
  if (state_ == State::kPaused) {
    if (terminator_->engine().cancel(this)) {
      // The signature has failed for the fiber: one more call lets it run to its end. The endpoint is
      // closed first, so that it can neither read nor write.
      client_.close(true);
      ERR_clear_error();
      SSL_do_handshake(ssl_);
      ERR_clear_error();
      enter(State::kHandshake);
      close();
      terminator_->fiberReleased();
      return;
    }
    client_.close(true);
    terminator_->reactor().disarm(this);
    terminator_->count(Name::zombiesMade);
    enter(State::kZombie);
    return;
  }
  client_.close(client_.failed);
  close();
}

void TerminatorConnection::connectUpstream() {
  const TerminatorConfig& config = terminator_->config();
  Reactor& reactor = terminator_->reactor();
  enter(State::kConnect);
  const SocketAddress& address = config.upstream;
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    terminator_->count(Name::localExhausted);
    upstreamFailed(errno);
    return;
  }
  if (address.family() != AF_UNIX) setTcpOptions(fd, config.timeouts.tcp);
  if (connect(fd, address.raw(), address.length) != 0 && errno != EINPROGRESS) {
    // A unix socket whose backlog is full says EAGAIN: that is a refusal here, as nginx takes it.
    const int error = errno;
    ::close(fd);
    if (error == EADDRNOTAVAIL) terminator_->count(Name::localExhausted);
    upstreamFailed(error);
    return;
  }
  terminator_->count(Name::upstreamConnects);
  upstream_.attach(fd, this);
  reactor.arm(this, config.timeouts.connectMs);
  if (reactor.add(fd, Endpoint::kEvents, &upstream_) != 0) upstreamFailed(ENOMEM);
}

void TerminatorConnection::upstreamFailed(int error) {
  if (error != ETIMEDOUT) terminator_->count(Name::upstreamRefused);
  terminator_->emit(Event::kUpstreamFailed, error);
  // No close_notify: the client must not take nothing for an answer that is complete.
  resetBoth();
}

void TerminatorConnection::upstreamConnected() {
  enter(State::kRelay);
  terminator_->reactor().arm(this, terminator_->config().timeouts.idleMs);
  // OpenSSL may have read ahead during the handshake: there is no edge to come for those bytes.
  relay();
}

void TerminatorConnection::relay() {
  Reactor& reactor = terminator_->reactor();
  const uint64_t before = toUpstreamBytes_ + toClientBytes_;
  const Flow up = clientToUpstream();
  const Flow down = up == Flow::kAbort ? Flow::kAbort : upstreamToClient();
  if (toUpstreamBytes_ + toClientBytes_ != before) lastActiveMs_ = reactor.nowMs();
  if (up == Flow::kAbort || down == Flow::kAbort || client_.failed) {
    if (client_.failed) terminator_->count(Name::clientReset);
    resetBoth();
    return;
  }
  if (up == Flow::kDone && down == Flow::kDone) {
    terminator_->count(Name::closedClean);
    close();
    return;
  }
  if (up == Flow::kBudget || down == Flow::kBudget) reactor.defer(this);
}

TerminatorConnection::Flow TerminatorConnection::flushToUpstream() {
  while (toUpstream_ != nullptr) {
    if (upstreamDead_) {
      toUpstream_->start = toUpstream_->end;
    } else {
      if (!upstream_.writable) return Flow::kBlocked;
      const ssize_t n = send(upstream_.fd, toUpstream_->bytes + toUpstream_->start,
                             toUpstream_->length(), MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN) {
          upstream_.writable = false;
          return Flow::kBlocked;
        }
        upstream_.sendFailed(errno);
        upstreamDead_ = true;
        continue;
      }
      toUpstream_->start += static_cast<size_t>(n);
    }
    if (toUpstream_->length() == 0) {
      terminator_->chunks().give(toUpstream_);
      toUpstream_ = nullptr;
    }
  }
  return Flow::kDone;
}

TerminatorConnection::Flow TerminatorConnection::clientToUpstream() {
  const uint64_t stopAt = toUpstreamBytes_ + kBudgetBytes;
  uint8_t* scratch = terminator_->reactor().scratch();
  for (;;) {
    if (flushToUpstream() == Flow::kBlocked) return Flow::kBlocked;
    if (clientEnded_) {
      if (!clientEndPassedOn_) {
        clientEndPassedOn_ = true;
        if (!upstreamDead_) shutdown(upstream_.fd, SHUT_WR);
      }
      return Flow::kDone;
    }
    if (toUpstreamBytes_ >= stopAt) return Flow::kBudget;
    if (!upstream_.writable && !upstreamDead_) return Flow::kBlocked;
    ERR_clear_error();
    // One record at most; several small ones are gathered into one send to the upstream.
    size_t filled = 0;
    int result = 1;
    if (client_.ahead != nullptr) endReadAhead(&client_);
    while (filled + SSL3_RT_MAX_PLAIN_LENGTH <= Reactor::kScratchBytes) {
      size_t got = 0;
      result = SSL_read_ex(ssl_, scratch + filled, Reactor::kScratchBytes - filled, &got);
      if (result != 1) break;
      filled += got;
    }
    const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
    if (filled > 0) {
      toUpstreamBytes_ += filled;
      if (!upstreamDead_) {
        const ssize_t n = send(upstream_.fd, scratch, filled, MSG_NOSIGNAL);
        size_t sent = 0;
        if (n >= 0) {
          sent = static_cast<size_t>(n);
        } else if (errno == EAGAIN) {
          upstream_.writable = false;
        } else if (errno != EINTR) {
          upstream_.sendFailed(errno);
          upstreamDead_ = true;
          sent = filled;
        }
        if (sent < filled) {
          toUpstream_ = terminator_->chunks().keep(scratch + sent, filled - sent);
        }
      }
    }
    if (error == SSL_ERROR_NONE) continue;
    if (error == SSL_ERROR_WANT_READ) {
      // What a short send left over: try until the kernel says EAGAIN, so that an edge will come.
      flushToUpstream();
      return Flow::kBlocked;
    }
    if (error == SSL_ERROR_WANT_WRITE) return Flow::kBlocked;  // a KeyUpdate's answer
    if (error == SSL_ERROR_ZERO_RETURN) {
      // RFC 8446 section 6.1: close_notify ends the client's direction only.
      terminator_->count(Name::closeNotifyByClient);
      clientEnded_ = true;
      continue;
    }
    // FIN or RST without close_notify, or a broken record.
    ERR_clear_error();
    if (closeNotifySent_ && client_.eof && !client_.failed) {
      // Everything was delivered and we have said so; a client that just closes now loses nothing.
      clientEnded_ = true;
      continue;
    }
    if (!client_.failed) {
      terminator_->count(client_.eof ? Name::truncatedByClient : Name::brokenByClient);
    }
    // Section 6.1 calls this a truncation: the upstream gets a reset, not an end it would believe.
    return Flow::kAbort;
  }
}

TerminatorConnection::Flow TerminatorConnection::writeTls(const uint8_t* bytes, size_t length,
                                                          size_t* written) {
  *written = 0;
  while (*written < length) {
    if (!client_.writable) return Flow::kBlocked;
    ERR_clear_error();
    size_t n = 0;
    const int result = SSL_write_ex(ssl_, bytes + *written, length - *written, &n);
    if (result == 1) {
      *written += n;
      toClientBytes_ += n;
      continue;
    }
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) return Flow::kBlocked;
    ERR_clear_error();
    return Flow::kAbort;
  }
  return Flow::kDone;
}

// True when it has left, or never will.
bool TerminatorConnection::sendCloseNotify() {
  ERR_clear_error();
  const int result = SSL_shutdown(ssl_);
  if (result < 0) {
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_WANT_WRITE) return false;
    ERR_clear_error();
  }
  return true;
}

TerminatorConnection::Flow TerminatorConnection::upstreamToClient() {
  const uint64_t stopAt = toClientBytes_ + kBudgetBytes;
  uint8_t* scratch = terminator_->reactor().scratch();
  for (;;) {
    if (toClient_ != nullptr) {
      size_t written = 0;
      // Same bytes again: a record that was half sent is finished first.
      const Flow flow = writeTls(toClient_->bytes + toClient_->start, toClient_->length(), &written);
      toClient_->start += written;
      if (flow != Flow::kDone) return flow;
      terminator_->chunks().give(toClient_);
      toClient_ = nullptr;
    }
    if (upstream_.eof) {
      if (!closeNotifySent_) {
        if (!sendCloseNotify()) return Flow::kBlocked;
        closeNotifySent_ = true;
        // If the client has ended too, close() follows at once and says the same.
        if (!clientEnded_) shutdown(client_.fd, SHUT_WR);
        terminator_->reactor().arm(
            this, std::min(terminator_->config().timeouts.idleMs, kHalfClosedMs));
      }
      return Flow::kDone;
    }
    if (!upstream_.readable) return Flow::kBlocked;
    if (!client_.writable) return Flow::kBlocked;
    if (toClientBytes_ >= stopAt) return Flow::kBudget;
    const ssize_t n = recv(upstream_.fd, scratch, Reactor::kScratchBytes, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN && !upstream_.failed) {
        upstream_.readable = false;
        return Flow::kBlocked;
      }
      // What it sent has been passed on; that it broke off must show.
      terminator_->count(Name::upstreamReset);
      return Flow::kAbort;
    }
    if (n == 0) {
      if (upstream_.broken) {
        terminator_->count(Name::upstreamReset);
        return Flow::kAbort;
      }
      upstream_.eof = true;
      continue;
    }
    const auto got = static_cast<size_t>(n);
    if (got < Reactor::kScratchBytes && !upstream_.hungUp) upstream_.readable = false;
    size_t written = 0;
    const Flow flow = writeTls(scratch, got, &written);
    if (flow == Flow::kAbort) return flow;
    if (written < got) toClient_ = terminator_->chunks().keep(scratch + written, got - written);
    if (flow == Flow::kBlocked) return flow;
  }
}

// We have said our last word. Wait for the client's FIN, so that nothing it still sends makes the
// kernel answer with a reset that destroys what is on its way to it.
void TerminatorConnection::linger() {
  shutdown(client_.fd, SHUT_WR);
  enter(State::kLinger);
  terminator_->reactor().arm(this, terminator_->config().timeouts.lingerMs);
  discardInput();
}

void TerminatorConnection::discardInput() {
  while (client_.readable) {
    const ssize_t n =
        recv(client_.fd, terminator_->reactor().scratch(), Reactor::kScratchBytes, 0);
    if (n > 0) {
      discardedBytes_ += static_cast<uint32_t>(n);
      if (discardedBytes_ <= kLingerBytes) continue;
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      client_.readable = false;
      return;
    }
    close();
    return;
  }
}

void TerminatorConnection::resetBoth() {
  client_.close(true);
  upstream_.close(true);
  close();
}

void TerminatorConnection::abort() {
  if (state_ == State::kPaused) {
    abandon();
    return;
  }
  if (state_ == State::kZombie) {
    // The process ends, or the data plane does: the fiber is lost with it, the SSL must not be freed.
    ssl_ = nullptr;
    close();
    return;
  }
  resetBoth();
}

void TerminatorConnection::close() {
  if (state_ == State::kClosed) return;
  enter(State::kClosed);
  Reactor& reactor = terminator_->reactor();
  reactor.disarm(this);
  reactor.undefer(this);
  terminator_->count(Name::bytesToUpstream, static_cast<double>(toUpstreamBytes_));
  terminator_->count(Name::bytesToClient, static_cast<double>(toClientBytes_));
  client_.close();
  upstream_.close();
  endReadAhead(&client_);
  terminator_->chunks().give(toUpstream_);
  terminator_->chunks().give(toClient_);
  toUpstream_ = toClient_ = nullptr;
  if (ssl_ != nullptr) {
    // Freed without this, the SSL would tell OpenSSL that its session is not to be resumed.
    SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl_);
    ssl_ = nullptr;
  }
  if (fiberGranted_) {
    // The fiber that was meant for us is the next one's.
    fiberGranted_ = false;
    terminator_->fiberReleased();
  }
  terminator_->gone(this);
}

}  // namespace tlsfarm
