#include "load_connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>

#include "endpoint_bio.h"

namespace tlsfarm {

using Name = LoadCounter;

namespace {

// Bytes per direction and turn before others get theirs.
constexpr uint64_t kBudgetBytes = 256 * 1024;
// A server that resumes sends its ticket right after the handshake; some send none.
constexpr uint32_t kTicketMs = 1000;
// What uploads consist of; one record at a time.
constexpr uint8_t kBody[SSL3_RT_MAX_PLAIN_LENGTH] = {};

bool localShortage(int error) {
  // EAGAIN: a unix socket's backlog, or no free port on older kernels.
  return error == EMFILE || error == ENFILE || error == EADDRNOTAVAIL || error == ENOBUFS ||
         error == ENOMEM || error == EAGAIN;
}

}  // namespace

LoadConnection::LoadConnection(LoadGenerator* generator, LoadClient* client, uint32_t target,
                               SSL_SESSION* offered, uint64_t nowNs, uint64_t intendedNs)
    : client(client),
      generator_(generator),
      offer_(offered),
      startNs_(nowNs),
      intendedNs_(intendedNs),
      target_(target),
      offeredAny_(offered != nullptr) {}

LoadConnection::~LoadConnection() { SSL_SESSION_free(offer_); }

void LoadConnection::start() {
  const SocketAddress& address = generator_->target(target_).address;
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    connectFailed(errno);
    return;
  }
  // A request follows the client's last flight at once: it must not wait for that one's ACK.
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  endpoint_.attach(fd, this);
  if (connect(fd, address.raw(), address.length) != 0 && errno != EINPROGRESS) {
    connectFailed(errno);
    return;
  }
  setDeadline(generator_->config().connectTimeoutMs);
  const int error = generator_->reactor().add(fd, Endpoint::kEvents, &endpoint_);
  if (error != 0) connectFailed(-error);
}

void LoadConnection::connectFailed(int error) {
  if (error == ECONNREFUSED) {
    fail(LoadError::connectRefused);
  } else if (error == ETIMEDOUT) {
    fail(LoadError::connectTimeout);
  } else {
    fail(localShortage(error) ? LoadError::localExhausted : LoadError::connectOther);
  }
}

void LoadConnection::onEndpoint(Endpoint*) {
  switch (state_) {
    case State::kConnect:
      connected();
      return;
    case State::kHandshake:
      shakeHands();
      return;
    case State::kTicket:
      awaitTicket();
      return;
    case State::kExchange:
      exchange();
      return;
    case State::kLinger:
      if (endpoint_.hungUp) lingerOn();
      return;
    case State::kClosed:
      return;
  }
}

void LoadConnection::onDeferred() {
  if (state_ == State::kExchange) exchange();
}

// One timer for all deadlines, lazily: a later one waits for the earlier to fire.
void LoadConnection::setDeadline(uint32_t inMs) {
  Reactor& reactor = generator_->reactor();
  deadlineMs_ = reactor.nowMs() + inMs;
  if (armed() && armedForMs_ <= deadlineMs_) return;
  armedForMs_ = deadlineMs_;
  reactor.arm(this, inMs);
}

void LoadConnection::onTimer() {
  const uint64_t nowMs = generator_->reactor().nowMs();
  if (nowMs < deadlineMs_) {
    armedForMs_ = deadlineMs_;
    generator_->reactor().arm(this, deadlineMs_ - nowMs);
    return;
  }
  switch (state_) {
    case State::kConnect:
      fail(LoadError::connectTimeout);
      return;
    case State::kHandshake:
      fail(LoadError::handshakeTimeout);
      return;
    case State::kTicket:
      complete();
      return;
    case State::kExchange:
      fail(LoadError::responseTimeout);
      return;
    case State::kLinger:
      close(true);
      return;
    case State::kClosed:
      return;
  }
}

void LoadConnection::connected() {
  if (endpoint_.failed) {
    const int error = socketError(endpoint_.fd);
    connectFailed(error != 0 ? error : ECONNRESET);
    return;
  }
  if (!endpoint_.writable) return;
  state_ = State::kHandshake;
  setDeadline(generator_->config().handshakeTimeoutMs);
  if (!createSsl()) {
    fail(LoadError::localExhausted);
    return;
  }
  shakeHands();
}

// Only now: a connection that is not yet there costs no SSL object.
bool LoadConnection::createSsl() {
  const LoadTarget& target = generator_->target(target_);
  ssl_ = SSL_new(generator_->sslCtx());
  if (ssl_ == nullptr) return false;
  BIO* bio = newEndpointBio(&endpoint_);
  if (bio == nullptr) return false;
  SSL_set_bio(ssl_, bio, bio);
  beginReadAhead(&endpoint_);
  SSL_set_app_data(ssl_, this);
  SSL_set_connect_state(ssl_);
  if (!target.serverName.empty()) SSL_set_tlsext_host_name(ssl_, target.serverName.c_str());
  if (!generator_->config().tls.ca.empty()) {
    X509_VERIFY_PARAM* param = SSL_get0_param(ssl_);
    const int set = target.serverName.empty()
                        ? X509_VERIFY_PARAM_set1_ip_asc(param, target.host.c_str())
                        : X509_VERIFY_PARAM_set1_host(param, target.serverName.c_str(), 0);
    if (set != 1) return false;
  }
  if (offer_ != nullptr) {
    SSL_set_session(ssl_, offer_);
    SSL_SESSION_free(offer_);
    offer_ = nullptr;
  }
  return true;
}

void LoadConnection::shakeHands() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    handshakeDone();
    return;
  }
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
  fail(handshakeError(error));
}

LoadError LoadConnection::handshakeError(int sslError) const {
  if (sslError == SSL_ERROR_SYSCALL || sslError == SSL_ERROR_ZERO_RETURN) {
    return LoadError::handshakeReset;
  }
  const int reason = ERR_GET_REASON(ERR_peek_error());
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return LoadError::handshakeReset;
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) return LoadError::handshakeVerify;
  // Alerts that the server sent: reason = 1000 + AlertDescription (RFC 8446 section 6).
  if (reason >= SSL_AD_REASON_OFFSET) return LoadError::handshakeAlert;
  return LoadError::handshakeOther;
}

bool LoadConnection::onSession(SSL_SESSION* session) {
  gotSession_ = true;
  const LoadConfig& config = generator_->config();
  if (client == nullptr || config.offer == LoadConfig::Offer::kNever) return false;
  // A session that only its ID resumes would pass for one resumed by ticket.
  if (config.ticketOnly && SSL_SESSION_has_ticket(session) != 1) return false;
  SSL_SESSION_free(client->session);
  client->session = session;
  return true;
}

void LoadConnection::handshakeDone() {
  const uint64_t nowNs = uv_hrtime();
  const LoadConfig& config = generator_->config();
  const bool resumed = SSL_session_reused(ssl_) == 1;
  const bool tls13 = SSL_version(ssl_) == TLS1_3_VERSION;
  generator_->handshakeDone(this, ssl_, resumed, (nowNs - startNs_) / 1000);
  // A TLS 1.2 server may renew the ticket of a session that it resumes; that is not reported.
  if (resumed && !tls13 && SSL_get0_session(ssl_) != client->session) {
    SSL_SESSION* renewed = SSL_get1_session(ssl_);
    if (!onSession(renewed)) SSL_SESSION_free(renewed);
  }
  if (config.requestsPerConnection > 0) {
    state_ = State::kExchange;
    requestsLeft_ = config.requestsPerConnection;
    beginRequest();
    exchange();
    return;
  }
  if (tls13 && config.offer != LoadConfig::Offer::kNever) {
    state_ = State::kTicket;
    setDeadline(kTicketMs);
    awaitTicket();
    return;
  }
  complete();
}

// RFC 8446 section 4.6.1: the ticket comes after the handshake, like data.
void LoadConnection::awaitTicket() {
  uint8_t* scratch = generator_->reactor().scratch();
  for (;;) {
    if (gotSession_) {
      complete();
      return;
    }
    endReadAhead(&endpoint_);
    ERR_clear_error();
    size_t got = 0;
    const int result = SSL_read_ex(ssl_, scratch, Reactor::kScratchBytes, &got);
    if (result == 1) continue;  // a server that speaks first: not what we wait for
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
      if (gotSession_) continue;
      return;
    }
    // To TLS 1.3 clients a refused certificate, say, is told after their end of the handshake.
    if (error == SSL_ERROR_SSL && handshakeError(error) == LoadError::handshakeAlert) {
      fail(LoadError::handshakeAlert);
    } else {
      complete();  // no ticket: the handshake was all that was wanted
    }
    return;
  }
}

void LoadConnection::beginRequest() {
  headSent_ = 0;
  bodySent_ = 0;
  requestSent_ = false;
  response_.begin();
  sentNs_ = uv_hrtime();
  setDeadline(generator_->config().responseTimeoutMs);
}

void LoadConnection::exchange() {
  for (;;) {
    Flow sent = Flow::kGoOn;
    if (!requestSent_ && !writeDead_) sent = sendRequest();
    const Flow read = readResponse();
    if (read == Flow::kOver) return;
    if (read == Flow::kGoOn) continue;  // the next request
    if (sent == Flow::kBudget || read == Flow::kBudget) generator_->reactor().defer(this);
    return;
  }
}

LoadConnection::Flow LoadConnection::sendRequest() {
  const LoadTarget& target = generator_->target(target_);
  const uint64_t uploadBytes = generator_->config().uploadBytes;
  const std::string& head = requestsLeft_ > 1 ? target.request : target.lastRequest;
  uint64_t budget = kBudgetBytes;
  while (headSent_ < head.size() || bodySent_ < uploadBytes) {
    if (budget == 0) return Flow::kBudget;
    const bool inHead = headSent_ < head.size();
    const void* bytes = inHead ? static_cast<const void*>(head.data() + headSent_) : kBody;
    const size_t length = inHead ? head.size() - headSent_
                                 : static_cast<size_t>(
                                       std::min<uint64_t>(sizeof kBody, uploadBytes - bodySent_));
    ERR_clear_error();
    size_t n = 0;
    const int result = SSL_write_ex(ssl_, bytes, length, &n);
    if (result != 1) {
      const int error = SSL_get_error(ssl_, result);
      if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) return Flow::kBlocked;
      // It may have answered before it closed: the reading side tells what has happened.
      writeDead_ = true;
      endpoint_.readable = true;
      return Flow::kBlocked;
    }
    generator_->add(Name::bytesOut, static_cast<double>(n));
    budget -= std::min<uint64_t>(budget, n);
    if (inHead) {
      headSent_ += static_cast<uint32_t>(n);
    } else {
      bodySent_ += n;
    }
  }
  requestSent_ = true;
  sentNs_ = uv_hrtime();
  return Flow::kGoOn;
}

LoadConnection::Flow LoadConnection::readResponse() {
  uint8_t* scratch = generator_->reactor().scratch();
  uint64_t budget = kBudgetBytes;
  while (budget > 0) {
    if (endpoint_.ahead != nullptr) endReadAhead(&endpoint_);
    ERR_clear_error();
    size_t got = 0;
    const int result = SSL_read_ex(ssl_, scratch, Reactor::kScratchBytes, &got);
    if (result != 1) {
      const int error = SSL_get_error(ssl_, result);
      if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Flow::kBlocked;
      return readFailed(error);
    }
    budget -= std::min<uint64_t>(budget, got);
    const Flow flow = onResponseBytes(scratch, got);
    if (flow != Flow::kBlocked) return flow;
  }
  return Flow::kBudget;
}

// kBlocked: more is to come.
LoadConnection::Flow LoadConnection::onResponseBytes(const uint8_t* bytes, size_t length) {
  generator_->received(length);
  if (!response_.started()) generator_->firstByte((uv_hrtime() - sentNs_) / 1000);
  const size_t taken = response_.feed(bytes, length);
  if (response_.headDone() && response_.status() / 100 != 2) {
    fail(LoadError::responseStatus);
    return Flow::kOver;
  }
  // More than was asked for is no answer either.
  if (response_.state() == LoadResponse::State::kGarbage || taken < length) {
    fail(LoadError::responseGarbage);
    return Flow::kOver;
  }
  if (response_.state() == LoadResponse::State::kWhole) return onResponseEnd();
  return Flow::kBlocked;
}

LoadConnection::Flow LoadConnection::onResponseEnd() {
  generator_->add(Name::requests);
  requestsLeft_ -= 1;
  if (requestsLeft_ == 0) {
    complete();
    return Flow::kOver;
  }
  // The rest of the request would be taken for the beginning of the next.
  if (!requestSent_) {
    fail(LoadError::responseGarbage);
    return Flow::kOver;
  }
  beginRequest();
  return Flow::kGoOn;
}

LoadConnection::Flow LoadConnection::readFailed(int sslError) {
  LoadError error = LoadError::responseTruncated;
  if (sslError == SSL_ERROR_ZERO_RETURN) {
    if (response_.endOfStream()) {
      if (requestsLeft_ == 1) return onResponseEnd();
      generator_->add(Name::requests);
    }
  } else if (sslError == SSL_ERROR_SYSCALL) {
    error = LoadError::responseReset;
  } else if (ERR_GET_REASON(ERR_peek_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    error = handshakeError(sslError) == LoadError::handshakeAlert ? LoadError::handshakeAlert
                                                                  : LoadError::responseGarbage;
  }
  fail(error);
  return Flow::kOver;
}

void LoadConnection::complete() {
  const bool whole = state_ != State::kExchange || requestSent_;
  ERR_clear_error();
  SSL_shutdown(ssl_);  // our close_notify
  ERR_clear_error();
  freeSsl();
  state_ = State::kLinger;
  generator_->completed(this);
  if (!whole || endpoint_.failed) {
    close(true);
    return;
  }
  setDeadline(kLingerMs);
  if (endpoint_.hungUp || endpoint_.eof) lingerOn();
}

// The server's FIN has come. What is unread must be read, or the kernel would send a reset, and the
// server might meet that before our close_notify.
void LoadConnection::lingerOn() {
  for (int rounds = 0; rounds < 16 && !endpoint_.failed; ++rounds) {
    const ssize_t n =
        recv(endpoint_.fd, generator_->reactor().scratch(), Reactor::kScratchBytes, 0);
    if (n <= 0) break;
  }
  close(false);
}

void LoadConnection::fail(LoadError error) {
  ERR_clear_error();
  if (state_ == State::kClosed) return;
  generator_->failed(this, error);
  close(true);
}

void LoadConnection::abort(LoadError error) { fail(error); }

void LoadConnection::drop() { close(true); }

// Freed without a word about its end, the SSL would tell OpenSSL never to resume its session.
void LoadConnection::freeSsl() {
  if (ssl_ == nullptr) return;
  SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
  ssl_ = nullptr;
}

void LoadConnection::close(bool reset) {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  Reactor& reactor = generator_->reactor();
  reactor.disarm(this);
  reactor.undefer(this);
  freeSsl();
  endpoint_.close(reset);
  endReadAhead(&endpoint_);
  generator_->gone(this);
}

}  // namespace tlsfarm
