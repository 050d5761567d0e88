// Accepts from one listening socket that the father holds. Pauses instead of spinning when there is
// no room (our limit, or the descriptor limit) and resumes when a connection closes.
#ifndef TLSFARM_LISTENER_H_
#define TLSFARM_LISTENER_H_

#include "reactor.h"
#include "sockets.h"

namespace tlsfarm {

class Acceptor {
 public:
  // Takes over the descriptor.
  virtual void onAccepted(int fd, const SocketAddress& peer) = 0;
  virtual bool hasRoom() const = 0;
  // error: errno, or 0 for our own limit.
  virtual void onAcceptPaused(int error) = 0;
  virtual void onAcceptResumed() = 0;

 protected:
  ~Acceptor() = default;
};

class Listener final : public EventHandler, public Deferred, public Timer {
 public:
  // Zero, or -errno. The options are set on the listening socket: Linux hands them down to every
  // connection, which saves five system calls each.
  int start(Reactor* reactor, int fd, const TcpOptions& options, Acceptor* acceptor);
  // A connection has closed: there may be room again.
  void roomMade();
  // No more accepting. `final`: nobody else will accept from this socket, so its queue is emptied
  // first and the socket is shut down, which refuses later connects. Otherwise a successor shares it.
  void stop(bool final);
  bool accepting() const { return fd_ >= 0; }

  void onEvents(uint32_t events) override;
  void onDeferred() override;
  void onTimer() override;

 private:
  void acceptBatch(int limit, bool ignoreRoom);
  void pause(int error);

  Reactor* reactor_ = nullptr;
  Acceptor* acceptor_ = nullptr;
  int fd_ = -1;
  bool paused_ = false;
};

}  // namespace tlsfarm

#endif
