// One connection of the load generator.
//
//   state      waits for                      left when
//   --------   ----------------------------   ----------------------------------------------------
//   connect    the TCP handshake              established → handshake
//   handshake  the server's bytes             done → exchange; no request wanted → ticket or linger
//   ticket     TLS 1.3's session ticket       come, or too late, or the server closed → linger
//   exchange   bytes, both ways               last response whole → linger
//   linger     the server's FIN               come → closed; too late → reset
//   closed     the end of the iteration       freed
//
// Every failure is counted by its kind and closes with a reset. The client (the slot with the
// session) is let go when the state becomes linger or closed.
//
// Why linger: who closes first keeps the port in TIME_WAIT for a minute, and 28,000 ports are soon
// used up. So after close_notify we let the server close first; a passive close leaves nothing
// behind. A server that does not is reset: both sides have said all they had to say, nothing can be
// lost by it.
#ifndef TLSFARM_LOAD_CONNECTION_H_
#define TLSFARM_LOAD_CONNECTION_H_

#include <openssl/ssl.h>

#include <cstdint>

#include "endpoint.h"
#include "load_generator.h"
#include "load_response.h"
#include "reactor.h"

namespace tlsfarm {

class LoadConnection final : public EndpointOwner, public Timer, public Deferred, public Buried {
 public:
  // Takes the reference on `offered` (null: a full handshake is wanted).
  LoadConnection(LoadGenerator* generator, LoadClient* client, uint32_t target,
                 SSL_SESSION* offered, uint64_t nowNs, uint64_t intendedNs);
  ~LoadConnection() override;
  void start();
  // Ends it where it stands. Not completed yet: counted as `error`.
  void abort(LoadError error);
  // Closes without a word, uncounted: the generator is being closed.
  void drop();

  void onEndpoint(Endpoint* endpoint) override;
  void onTimer() override;
  void onDeferred() override;
  // OpenSSL has a new session for us. True: the reference is taken.
  bool onSession(SSL_SESSION* session);

  uint32_t target() const { return target_; }
  bool offered() const { return offeredAny_; }
  uint64_t intendedNs() const { return intendedNs_; }

  // Null once it was let go.
  LoadClient* client;
  // Intrusive list, kept by LoadGenerator.
  LoadConnection* next = nullptr;
  LoadConnection* previous = nullptr;
  bool inList = false;

  static constexpr uint32_t kLingerMs = 500;

 private:
  enum class State : uint8_t { kConnect, kHandshake, kTicket, kExchange, kLinger, kClosed };
  enum class Flow : uint8_t { kGoOn, kBlocked, kBudget, kOver };

  void connectFailed(int error);
  void connected();
  bool createSsl();
  void shakeHands();
  void handshakeDone();
  void awaitTicket();
  void beginRequest();
  void exchange();
  Flow sendRequest();
  Flow readResponse();
  Flow onResponseBytes(const uint8_t* bytes, size_t length);
  Flow onResponseEnd();
  Flow readFailed(int sslError);
  LoadError handshakeError(int sslError) const;
  void complete();
  void lingerOn();
  void fail(LoadError error);
  void setDeadline(uint32_t inMs);
  void close(bool reset);
  void freeSsl();

  LoadGenerator* generator_;
  Endpoint endpoint_;
  SSL* ssl_ = nullptr;
  SSL_SESSION* offer_;
  uint64_t startNs_;
  uint64_t intendedNs_;
  uint64_t sentNs_ = 0;  // when the request had left
  uint64_t deadlineMs_ = 0;
  uint64_t armedForMs_ = 0;
  uint64_t bodySent_ = 0;
  uint32_t headSent_ = 0;
  uint32_t target_;
  uint32_t requestsLeft_ = 0;
  State state_ = State::kConnect;
  bool offeredAny_ = false;
  bool gotSession_ = false;
  bool requestSent_ = false;
  bool writeDead_ = false;  // the server takes no more; what it has answered is still read
  LoadResponse response_;
};

}  // namespace tlsfarm

#endif
