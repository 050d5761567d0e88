// One client's TLS connection.
//
//   state      waits for                        left when
//   --------   ------------------------------   ------------------------------------------------------
//   handshake  the client's bytes               done → connect; needs a key → paused; failed → linger
//   paused     the device (a fiber is parked)   operation done → handshake; client gone → cancelled
//   queued     a free fiber                     a job has ended → handshake
//   connect    the upstream's TCP handshake     established → relay; refused, late → closed
//   relay      bytes, both ways                 both sides have ended → closed; reset, idle → closed
//   linger     the client to take what we sent  its FIN, or the linger time-out → closed
//   zombie     an operation that cannot be      operation done → closed
//              cancelled; the client is gone
//   closed     the end of the iteration         freed
//
// Rules that keep paused handshakes safe (design, "Lifetime rules"): while paused nothing touches the
// SSL but SSL_do_handshake; socket events only set flags on the endpoints (event disorder); an SSL
// with a parked fiber is never freed: it is cancelled and run to its end, or becomes a zombie.
#ifndef TLSFARM_TERMINATOR_CONNECTION_H_
#define TLSFARM_TERMINATOR_CONNECTION_H_

#include <openssl/ssl.h>

#include <cstdint>

#include "endpoint.h"
#include "terminator.h"

namespace tlsfarm {

class TerminatorConnection final : public EndpointOwner,
                                   public Timer,
                                   public Deferred,
                                   public Buried,
                                   public OperationOwner {
 public:
  TerminatorConnection(Terminator* terminator, int fd);
  ~TerminatorConnection() override;
  bool start();
  // The device is done with our operation.
  void resume();
  // A fiber may be free.
  void fiberFree();
  // Closing the data plane: everything goes now.
  void abort();
  bool paused() const { return state_ == State::kPaused || state_ == State::kZombie; }

  void onEndpoint(Endpoint* endpoint) override;
  void onTimer() override;
  void onDeferred() override;

  // Intrusive lists, kept by Terminator.
  TerminatorConnection* nextAll = nullptr;
  TerminatorConnection* previousAll = nullptr;
  TerminatorConnection* nextInFiberQueue = nullptr;
  TerminatorConnection* previousInFiberQueue = nullptr;
  bool inFiberQueue = false;

 private:
  enum class State : uint8_t {
    kHandshake,
    kPaused,
    kQueued,
    kConnect,
    kRelay,
    kLinger,
    kZombie,
    kClosed,
  };
  enum class Flow : uint8_t { kBlocked, kBudget, kDone, kAbort };

  bool createSsl();
  void drive();
  void handshakeDone();
  void handshakeFailed(int sslError);
  void countFailure(int sslError);
  // The client has gone or was too slow, in any handshake state.
  void abandon();
  void connectUpstream();
  void upstreamConnected();
  void upstreamFailed(int error);
  void relay();
  Flow clientToUpstream();
  Flow upstreamToClient();
  Flow flushToUpstream();
  Flow writeTls(const uint8_t* bytes, size_t length, size_t* written);
  bool sendCloseNotify();
  void linger();
  void discardInput();
  void enter(State state);
  void resetBoth();
  void close();

  Terminator* terminator_;
  Endpoint client_;
  Endpoint upstream_;
  SSL* ssl_ = nullptr;
  State state_ = State::kHandshake;
  bool clientEnded_ = false;       // close_notify has come
  bool clientEndPassedOn_ = false;  // … and the upstream has had our FIN
  bool closeNotifySent_ = false;
  bool upstreamDead_ = false;  // it takes nothing more; what it sent is still passed on
  bool fiberGranted_ = false;  // called back from the fiber queue: a free fiber is meant for us
  uint32_t discardedBytes_ = 0;
  uint64_t lastActiveMs_ = 0;
  uint64_t toUpstreamBytes_ = 0;
  uint64_t toClientBytes_ = 0;
  Chunk* toUpstream_ = nullptr;
  Chunk* toClient_ = nullptr;
  HandshakeMemo memo_;
};

}  // namespace tlsfarm

#endif
