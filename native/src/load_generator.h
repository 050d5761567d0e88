// A load generator: many TLS clients on one Reactor, no JavaScript and no fiber per connection.
//
// A client is a slot that carries a session from one connection to the next, across the targets in
// turn. In the closed loop each client starts its next connection when the last is done; in the
// open loop connections start at times fixed beforehand, whatever happens to earlier ones, on a
// client that is free or on a new one.
#ifndef TLSFARM_LOAD_GENERATOR_H_
#define TLSFARM_LOAD_GENERATOR_H_

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "counters.h"
#include "load_context.h"
#include "load_histogram.h"
#include "reactor.h"
#include "sockets.h"

namespace tlsfarm {

#define TLSFARM_LOAD_COUNTERS(X)                                                              \
  X(started) X(completed) X(handshakesFull) X(handshakesResumed) X(offeredButFull) X(requests) \
  X(bytesIn) X(bytesOut) X(errors) X(active) X(lingering)

// Names and order are those of LOAD_ERRORS in bench/load.ts.
#define TLSFARM_LOAD_ERRORS(X)                                                                  \
  X(connectRefused) X(connectTimeout) X(connectOther) X(localExhausted) X(handshakeAlert)       \
  X(handshakeVerify) X(handshakeReset) X(handshakeTimeout) X(handshakeOther) X(responseReset)   \
  X(responseTruncated) X(responseTimeout) X(responseStatus) X(responseGarbage) X(unfinished)

#define TLSFARM_LOAD_ENUM(name) name,
enum class LoadCounter : size_t { TLSFARM_LOAD_COUNTERS(TLSFARM_LOAD_ENUM) count_ };
enum class LoadError : size_t { TLSFARM_LOAD_ERRORS(TLSFARM_LOAD_ENUM) count_ };
#undef TLSFARM_LOAD_ENUM

struct LoadTarget {
  SocketAddress address;
  // What is verified when there is a CA: a name, or the address if there is none.
  std::string host;
  // Empty: no SNI.
  std::string serverName;
  // The request's head, when others follow on the connection and when it is the last.
  std::string request;
  std::string lastRequest;
};

struct LoadConfig {
  enum class Offer : uint8_t { kNever, kAlways, kRatio };

  std::vector<LoadTarget> targets;
  uint32_t clients = 1;
  double ratePerS = 0;  // 0 = closed loop
  uint32_t rampMs = 0;
  uint32_t durationMs = 0;
  uint64_t connections = 0;
  uint32_t requestsPerConnection = 1;
  uint64_t uploadBytes = 0;
  LoadTlsConfig tls;
  Offer offer = Offer::kAlways;
  uint32_t fullEvery = 0;
  double offerRatio = 1;
  // TLS 1.2: sessions without a ticket are not kept.
  bool ticketOnly = false;
  uint32_t connectTimeoutMs = 5000;
  uint32_t handshakeTimeoutMs = 10000;
  uint32_t responseTimeoutMs = 30000;
  uint32_t graceMs = 5000;
  uint64_t seed = 1;
  // Open loop: connections under way at once; beyond it starts fail as localExhausted.
  uint32_t maxOpen = 10000;
  double* counters = nullptr;  // LoadCounter::count_ of them
};

class LoadConnection;

struct LoadClient {
  SSL_SESSION* session = nullptr;
  uint64_t made = 0;  // connections so far
  uint64_t restUntilNs = 0;
  LoadClient* next = nullptr;
};

// A first-in, first-out list of clients.
class LoadClients {
 public:
  bool empty() const { return head_ == nullptr; }
  LoadClient* first() const { return head_; }
  void push(LoadClient* client) {
    client->next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = client;
    tail_ = client;
  }
  LoadClient* pop() {
    LoadClient* client = head_;
    head_ = client->next;
    if (head_ == nullptr) tail_ = nullptr;
    return client;
  }

 private:
  LoadClient* head_ = nullptr;
  LoadClient* tail_ = nullptr;
};

struct LoadSecond {
  double started = 0;
  double completed = 0;
  double resumed = 0;
  double errors = 0;
  double bytesIn = 0;
};

struct LoadTargetCounts {
  double started = 0;
  double completed = 0;
  double resumed = 0;
};

struct LoadNegotiated {
  uint64_t key = 0;
  std::string name;
  double count = 0;
};

struct LoadHistograms {
  LoadHistogram handshake;
  LoadHistogram handshakeFull;
  LoadHistogram handshakeResumed;
  LoadHistogram firstByte;
  LoadHistogram total;
};

// Doubly linked, kept in the connections themselves.
struct LoadList {
  LoadConnection* head = nullptr;
  LoadConnection* tail = nullptr;
  uint32_t size = 0;
};

class LoadGenerator final : public Reactor::Turn {
 public:
  class Policy {
   public:
    // The run is over: nothing is open any more. Called once, not after close().
    virtual void finished() = 0;

   protected:
    ~Policy() = default;
  };

  LoadGenerator(LoadConfig config, Policy* policy);
  ~LoadGenerator();
  // Empty, or what is wrong.
  std::string start(uv_loop_t* loop);
  // Start no more; what is under way gets the grace time.
  void stop();
  // Drop everything; the policy is not called any more.
  void close(void (*closed)(void*), void* context);

  // The result, when it has finished.
  double elapsedMs() const;
  double count(LoadCounter name) const { return counters_.get(name); }
  const double* errors() const { return errors_; }
  const std::vector<LoadNegotiated>& negotiated() const { return negotiated_; }
  const std::vector<LoadTargetCounts>& targets() const { return targetCounts_; }
  const std::vector<LoadSecond>& seconds() const { return seconds_; }
  const LoadHistograms& histograms() const { return *histograms_; }

  void onTurn() override;
  bool wantsTurn() const override;

  // For connections.
  Reactor& reactor() { return reactor_; }
  const LoadConfig& config() const { return config_; }
  SSL_CTX* sslCtx() { return ctx_; }
  const LoadTarget& target(uint32_t index) const { return config_.targets[index]; }
  void add(LoadCounter name, double by = 1) { counters_.add(name, by); }
  void handshakeDone(LoadConnection* connection, SSL* ssl, bool resumed, uint64_t us);
  void firstByte(uint64_t us) { histograms_->firstByte.record(us); }
  void received(uint64_t bytes);
  // Exactly one of these per connection. The client is free for its next one afterwards.
  void completed(LoadConnection* connection);
  void failed(LoadConnection* connection, LoadError error);
  // Closed; freed at the end of the turn.
  void gone(LoadConnection* connection);

 private:
  // Tells when the next connection is due. A timerfd, because libuv's timers know only whole
  // milliseconds, and a late start would be charged to the server.
  class Schedule final : public EventHandler {
   public:
    LoadGenerator* generator = nullptr;
    void onEvents(uint32_t) override { generator->reactor_.wake(); }
  };
  class Alarm final : public Timer {
   public:
    LoadGenerator* generator = nullptr;
    void onTimer() override { generator->reactor_.wake(); }
  };

  bool openLoop() const { return config_.ratePerS > 0; }
  // When the n-th connection (open loop) or client (closed loop) is to start, since the beginning.
  uint64_t intendedNs(uint64_t n) const;
  void startDue(uint64_t nowNs);
  void startScheduled(uint64_t nowNs, uint64_t intendedNs);
  void startConnection(LoadClient* client, uint64_t nowNs, uint64_t intendedNs);
  LoadClient* newClient();
  SSL_SESSION* sessionToOffer(LoadClient* client);
  void release(LoadConnection* connection, bool unconnected);
  void stopStarting(uint64_t nowNs);
  void setSchedule();
  void setAlarm(uint64_t nowNs);
  void finish();
  bool mayStart() const;
  // 0 … 1.
  double random();
  LoadSecond& second();
  void link(LoadList& list, LoadConnection* connection);
  void unlink(LoadList& list, LoadConnection* connection);
  void countNegotiated(SSL* ssl, bool resumed);

  LoadConfig config_;
  Policy* policy_;
  Reactor reactor_;
  Schedule schedule_;
  Alarm alarm_;
  SSL_CTX* ctx_ = nullptr;
  int timerFd_ = -1;
  Counters<LoadCounter> counters_;
  double errors_[static_cast<size_t>(LoadError::count_)] = {};
  std::vector<LoadNegotiated> negotiated_;
  std::vector<LoadTargetCounts> targetCounts_;
  std::vector<LoadSecond> seconds_;
  std::unique_ptr<LoadHistograms> histograms_;

  std::vector<std::unique_ptr<LoadClient>> clients_;
  LoadClients ready_;    // closed loop: to start in this turn; open loop: free
  LoadClients resting_;  // closed loop: could not connect, tries again soon
  LoadList active_;
  LoadList lingering_;
  uint64_t scheduled_ = 0;  // connections (open loop) or clients (closed loop) given a start so far
  uint64_t startedCount_ = 0;
  uint64_t armedForNs_ = 0;
  uint64_t alarmForNs_ = 0;
  uint64_t startNs_ = 0;
  uint64_t stoppedNs_ = 0;
  uint64_t lastEndNs_ = 0;
  uint64_t randomState_ = 0;
  bool moreDue_ = false;
  bool stopping_ = false;
  bool finished_ = false;
  bool closing_ = false;
};

}  // namespace tlsfarm

#endif
