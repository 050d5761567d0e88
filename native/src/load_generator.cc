#include "load_generator.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>

#include "load_connection.h"

namespace tlsfarm {

using Name = LoadCounter;

namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerS = 1'000'000'000;
// Connections started in one turn: those under way are served in between.
constexpr int kStartsPerTurn = 64;
// A client that cannot connect tries again after this: a server that is down is no reason to spin.
constexpr uint64_t kRestNs = 10 * kNsPerMs;
// Closed by us, not yet by the server. Beyond it the oldest is reset.
constexpr uint32_t kMaxLingering = 4096;
constexpr size_t kMaxNegotiated = 64;

int onNewSession(SSL* ssl, SSL_SESSION* session) {
  auto* connection = static_cast<LoadConnection*>(SSL_get_app_data(ssl));
  return connection->onSession(session) ? 1 : 0;
}

// OpenSSL's TLS names of the groups that people know by others.
const char* groupName(const char* name) {
  static constexpr struct {
    const char* from;
    const char* to;
  } kNames[] = {{"x25519", "X25519"},
                {"x448", "X448"},
                {"secp256r1", "P-256"},
                {"secp384r1", "P-384"},
                {"secp521r1", "P-521"}};
  for (const auto& known : kNames) {
    if (strcmp(name, known.from) == 0) return known.to;
  }
  return name;
}

}  // namespace

LoadGenerator::LoadGenerator(LoadConfig config, Policy* policy)
    : config_(std::move(config)),
      policy_(policy),
      targetCounts_(config_.targets.size()),
      histograms_(std::make_unique<LoadHistograms>()),
      randomState_(config_.seed) {
  counters_.bind(config_.counters);
  schedule_.generator = this;
  alarm_.generator = this;
}

LoadGenerator::~LoadGenerator() {
  for (const auto& client : clients_) SSL_SESSION_free(client->session);
  SSL_CTX_free(ctx_);
  if (timerFd_ >= 0) ::close(timerFd_);
}

std::string LoadGenerator::start(uv_loop_t* loop) {
  std::string error;
  ctx_ = newLoadContext(config_.tls, &error);
  if (ctx_ == nullptr) return error;
  SSL_CTX_sess_set_new_cb(ctx_, onNewSession);
  int code = reactor_.open(loop, this);
  if (code != 0) return std::string("epoll: ") + strerror(-code);
  timerFd_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timerFd_ < 0) return std::string("timerfd: ") + strerror(errno);
  // Edge-triggered: every expiry is an edge, the count need not be read.
  code = reactor_.add(timerFd_, EPOLLIN | EPOLLET, &schedule_);
  if (code != 0) return std::string("timerfd: ") + strerror(-code);
  clients_.reserve(config_.clients);
  if (openLoop()) {
    for (uint32_t i = 0; i < config_.clients; ++i) ready_.push(newClient());
  }
  startNs_ = lastEndNs_ = uv_hrtime();
  reactor_.wake();
  return "";
}

LoadClient* LoadGenerator::newClient() {
  clients_.push_back(std::make_unique<LoadClient>());
  return clients_.back().get();
}

double LoadGenerator::random() {
  // splitmix64
  uint64_t z = randomState_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// ---- when to start ------------------------------------------------------------------------------

// The rate grows linearly from zero over the ramp: after t seconds rate·t²/(2·ramp) have started,
// half as many as without it.
uint64_t LoadGenerator::intendedNs(uint64_t n) const {
  const double rampS = config_.rampMs / 1e3;
  const auto k = static_cast<double>(n);
  double s = 0;
  if (!openLoop()) {
    s = rampS * k / config_.clients;
  } else if (const double inRamp = config_.ratePerS * rampS / 2; k < inRamp) {
    s = sqrt(2 * rampS * k / config_.ratePerS);
  } else {
    s = rampS + (k - inRamp) / config_.ratePerS;
  }
  return static_cast<uint64_t>(s * 1e9);
}

bool LoadGenerator::mayStart() const {
  return !stopping_ && (config_.connections == 0 || startedCount_ < config_.connections);
}

// Late starts happen at once and in order; their latency counts from when they should have been.
void LoadGenerator::startDue(uint64_t nowNs) {
  const uint64_t elapsedNs = nowNs - startNs_;
  const uint64_t endNs = config_.durationMs > 0 ? config_.durationMs * kNsPerMs : UINT64_MAX;
  const uint64_t limit = openLoop() ? UINT64_MAX : config_.clients;
  int budget = kStartsPerTurn;
  moreDue_ = false;
  while (scheduled_ < limit && mayStart()) {
    const uint64_t dueNs = intendedNs(scheduled_);
    if (dueNs > elapsedNs || dueNs >= endNs) break;
    if (budget-- == 0) {
      moreDue_ = true;
      return;
    }
    scheduled_ += 1;
    startScheduled(nowNs, openLoop() ? startNs_ + dueNs : nowNs);
  }
  if (openLoop()) return;
  while (!resting_.empty() && resting_.first()->restUntilNs <= nowNs) ready_.push(resting_.pop());
  if (elapsedNs >= endNs) return;
  for (; budget > 0 && !ready_.empty() && mayStart(); --budget) {
    startConnection(ready_.pop(), nowNs, nowNs);
  }
}

void LoadGenerator::startScheduled(uint64_t nowNs, uint64_t intended) {
  if (openLoop() && active_.size >= config_.maxOpen) {
    // The server is so far behind that there is no room here: as a client out of ports would fail.
    targetCounts_[startedCount_ % targetCounts_.size()].started += 1;
    startedCount_ += 1;
    add(Name::started);
    add(Name::errors);
    second().started += 1;
    second().errors += 1;
    errors_[static_cast<size_t>(LoadError::localExhausted)] += 1;
    return;
  }
  LoadClient* client = openLoop() && !ready_.empty() ? ready_.pop() : newClient();
  startConnection(client, nowNs, intended);
}

SSL_SESSION* LoadGenerator::sessionToOffer(LoadClient* client) {
  const bool forget = config_.fullEvery > 0 && client->made % config_.fullEvery == 0;
  if (client->session != nullptr &&
      (forget || SSL_SESSION_is_resumable(client->session) != 1)) {
    SSL_SESSION_free(client->session);
    client->session = nullptr;
  }
  if (client->session == nullptr) return nullptr;
  if (config_.offer == LoadConfig::Offer::kRatio && random() >= config_.offerRatio) return nullptr;
  // OpenSSL marks a TLS 1.3 session as used up when it is resumed. The newest ticket is what we
  // offer, and where the server gave no newer one, that is the same again.
  if (SSL_SESSION_get_protocol_version(client->session) == TLS1_3_VERSION) {
    return SSL_SESSION_dup(client->session);
  }
  SSL_SESSION_up_ref(client->session);
  return client->session;
}

void LoadGenerator::startConnection(LoadClient* client, uint64_t nowNs, uint64_t intended) {
  const auto target = static_cast<uint32_t>(client->made % config_.targets.size());
  SSL_SESSION* offered = sessionToOffer(client);
  client->made += 1;
  startedCount_ += 1;
  add(Name::started);
  targetCounts_[target].started += 1;
  second().started += 1;
  // The clock again: sixty connects of one turn are no latency of the server's.
  if (!openLoop()) nowNs = intended = uv_hrtime();
  auto* connection = new LoadConnection(this, client, target, offered, nowNs, intended);
  link(active_, connection);
  connection->start();
}

// ---- the ends of connections --------------------------------------------------------------------

void LoadGenerator::handshakeDone(LoadConnection* connection, SSL* ssl, bool resumed, uint64_t us) {
  add(resumed ? Name::handshakesResumed : Name::handshakesFull);
  histograms_->handshake.record(us);
  (resumed ? histograms_->handshakeResumed : histograms_->handshakeFull).record(us);
  if (resumed) {
    targetCounts_[connection->target()].resumed += 1;
    second().resumed += 1;
  } else if (connection->offered()) {
    add(Name::offeredButFull);
  }
  countNegotiated(ssl, resumed);
}

void LoadGenerator::countNegotiated(SSL* ssl, bool resumed) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  const auto version = static_cast<uint64_t>(SSL_version(ssl));
  // Resumed in TLS 1.2, no group takes part.
  const bool grouped = version == TLS1_3_VERSION || !resumed;
  const auto group = grouped ? static_cast<uint32_t>(SSL_get_negotiated_group(ssl)) : 0;
  const uint64_t key = version << 48 | uint64_t{SSL_CIPHER_get_protocol_id(cipher)} << 32 | group;
  for (LoadNegotiated& known : negotiated_) {
    if (known.key == key || (known.key == 0 && negotiated_.size() == kMaxNegotiated)) {
      known.count += 1;
      return;
    }
  }
  if (negotiated_.size() == kMaxNegotiated - 1) {
    negotiated_.push_back({0, "other", 1});
    return;
  }
  std::string name = std::string(SSL_get_version(ssl)) + " " + SSL_CIPHER_get_name(cipher);
  const char* groupText = group != 0 ? SSL_get0_group_name(ssl) : nullptr;
  if (groupText != nullptr) name += std::string(" ") + groupName(groupText);
  negotiated_.push_back({key, std::move(name), 1});
}

void LoadGenerator::received(uint64_t bytes) {
  add(Name::bytesIn, static_cast<double>(bytes));
  second().bytesIn += static_cast<double>(bytes);
}

void LoadGenerator::completed(LoadConnection* connection) {
  add(Name::completed);
  targetCounts_[connection->target()].completed += 1;
  second().completed += 1;
  release(connection, false);
  histograms_->total.record((lastEndNs_ - connection->intendedNs()) / 1000);
  link(lingering_, connection);
  if (lingering_.size > kMaxLingering) lingering_.head->drop();
}

void LoadGenerator::failed(LoadConnection* connection, LoadError error) {
  add(Name::errors);
  errors_[static_cast<size_t>(error)] += 1;
  second().errors += 1;
  release(connection, error <= LoadError::localExhausted);
}

void LoadGenerator::release(LoadConnection* connection, bool unconnected) {
  lastEndNs_ = uv_hrtime();
  unlink(active_, connection);
  LoadClient* client = connection->client;
  connection->client = nullptr;
  if (!openLoop() && unconnected) {
    client->restUntilNs = lastEndNs_ + kRestNs;
    resting_.push(client);
  } else {
    ready_.push(client);
  }
  reactor_.wake();
}

void LoadGenerator::gone(LoadConnection* connection) {
  if (connection->client != nullptr) {
    unlink(active_, connection);  // dropped: the generator closes
  } else if (connection->inList) {
    unlink(lingering_, connection);
  }
  reactor_.bury(connection);
}

void LoadGenerator::link(LoadList& list, LoadConnection* connection) {
  connection->inList = true;
  connection->next = nullptr;
  connection->previous = list.tail;
  (list.tail != nullptr ? list.tail->next : list.head) = connection;
  list.tail = connection;
  list.size += 1;
}

void LoadGenerator::unlink(LoadList& list, LoadConnection* connection) {
  connection->inList = false;
  (connection->previous != nullptr ? connection->previous->next : list.head) = connection->next;
  (connection->next != nullptr ? connection->next->previous : list.tail) = connection->previous;
  connection->next = connection->previous = nullptr;
  list.size -= 1;
}

LoadSecond& LoadGenerator::second() {
  const uint64_t nowNs = std::max(reactor_.nowMs() * kNsPerMs, startNs_);
  const size_t index = static_cast<size_t>((nowNs - startNs_) / kNsPerS);
  if (index >= seconds_.size()) seconds_.resize(index + 1);
  return seconds_[index];
}

// ---- the end of the run -------------------------------------------------------------------------

void LoadGenerator::onTurn() {
  if (finished_ || closing_) return;
  const uint64_t nowNs = uv_hrtime();
  startDue(nowNs);
  if (!stopping_ && !moreDue_) {
    const bool late = config_.durationMs > 0 && nowNs - startNs_ >= config_.durationMs * kNsPerMs;
    if (late || !mayStart()) stopStarting(nowNs);
  }
  if (stopping_ && nowNs - stoppedNs_ >= config_.graceMs * kNsPerMs) {
    while (active_.head != nullptr) active_.head->abort(LoadError::unfinished);
  }
  counters_.set(Name::active, active_.size);
  counters_.set(Name::lingering, lingering_.size);
  if (stopping_ && active_.size == 0 && lingering_.size == 0) {
    finish();
    return;
  }
  setSchedule();
  setAlarm(nowNs);
}

bool LoadGenerator::wantsTurn() const {
  if (finished_ || closing_) return false;
  return moreDue_ || (!openLoop() && !stopping_ && !ready_.empty());
}

void LoadGenerator::stop() {
  if (stopping_ || closing_) return;
  stopStarting(uv_hrtime());
  reactor_.wake();
}

void LoadGenerator::stopStarting(uint64_t nowNs) {
  stopping_ = true;
  stoppedNs_ = nowNs;
  moreDue_ = false;
}

void LoadGenerator::setSchedule() {
  if (moreDue_ || !mayStart() || (!openLoop() && scheduled_ >= config_.clients)) return;
  const uint64_t dueNs = startNs_ + intendedNs(scheduled_);
  if (dueNs == armedForNs_) return;
  armedForNs_ = dueNs;
  itimerspec at{};
  at.it_value.tv_sec = static_cast<time_t>(dueNs / kNsPerS);
  at.it_value.tv_nsec = static_cast<long>(dueNs % kNsPerS);
  timerfd_settime(timerFd_, TFD_TIMER_ABSTIME, &at, nullptr);
}

// The end of the run or of the grace time, and those who rest. Whole milliseconds are good enough;
// an alarm that comes early is set again.
void LoadGenerator::setAlarm(uint64_t nowNs) {
  uint64_t atNs = UINT64_MAX;
  if (stopping_) {
    atNs = stoppedNs_ + config_.graceMs * kNsPerMs;
  } else {
    if (config_.durationMs > 0) atNs = startNs_ + config_.durationMs * kNsPerMs;
    if (!resting_.empty()) atNs = std::min(atNs, resting_.first()->restUntilNs);
  }
  if (atNs == UINT64_MAX || (stopping_ && active_.size == 0)) return;
  if (alarm_.armed() && atNs == alarmForNs_) return;
  alarmForNs_ = atNs;
  reactor_.arm(&alarm_, atNs > nowNs ? (atNs - nowNs + kNsPerMs - 1) / kNsPerMs : 0);
}

void LoadGenerator::finish() {
  finished_ = true;
  policy_->finished();
}

double LoadGenerator::elapsedMs() const {
  return static_cast<double>(std::max(stoppedNs_, lastEndNs_) - startNs_) / 1e6;
}

void LoadGenerator::close(void (*closed)(void*), void* context) {
  if (closing_) return;
  closing_ = true;
  while (active_.head != nullptr) active_.head->drop();
  while (lingering_.head != nullptr) lingering_.head->drop();
  reactor_.disarm(&alarm_);
  reactor_.close(closed, context);
}

}  // namespace tlsfarm
