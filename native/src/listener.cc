#include "listener.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace tlsfarm {

namespace {
constexpr int kBatch = 64;
// Somebody else may have closed descriptors (ENFILE is system-wide): look again without waiting for
// a connection of ours to close.
constexpr uint64_t kRetryMs = 100;

// What accept(2) reports about one connection that is already gone; the next one may be fine.
bool isTransient(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
      return true;
    default:
      return false;
  }
}
}  // namespace

int Listener::start(Reactor* reactor, int fd, const TcpOptions& options, Acceptor* acceptor) {
  setTcpOptions(fd, options);
  reactor_ = reactor;
  acceptor_ = acceptor;
  const int error = reactor->add(fd, EPOLLIN | EPOLLET, this);
  if (error == 0) fd_ = fd;
  return error;
}

void Listener::onEvents(uint32_t) {
  if (fd_ >= 0 && !paused_ && !deferred()) acceptBatch(kBatch, false);
}

void Listener::onDeferred() {
  if (fd_ >= 0 && !paused_) acceptBatch(kBatch, false);
}

void Listener::onTimer() { roomMade(); }

void Listener::roomMade() {
  if (!paused_ || fd_ < 0 || !acceptor_->hasRoom()) return;
  paused_ = false;
  reactor_->disarm(this);
  acceptor_->onAcceptResumed();
  reactor_->defer(this);
}

void Listener::pause(int error) {
  if (!paused_) acceptor_->onAcceptPaused(error);
  paused_ = true;
  if (error != 0) reactor_->arm(this, kRetryMs);
}

void Listener::acceptBatch(int limit, bool ignoreRoom) {
  for (int i = 0; i < limit; ++i) {
    if (!ignoreRoom && !acceptor_->hasRoom()) {
      pause(0);
      return;
    }
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    const int fd = accept4(fd_, peer.raw(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      const int error = errno;
      if (error == EAGAIN) return;
      if (isTransient(error)) continue;
      pause(error);
      return;
    }
    acceptor_->onAccepted(fd, peer);
    if (fd_ < 0) return;
  }
  // The edge is told once: what is left in the queue is ours to remember.
  reactor_->defer(this);
}

void Listener::stop(bool final) {
  if (fd_ < 0) return;
  reactor_->undefer(this);
  reactor_->disarm(this);
  if (final) {
    // Between the last accept and the shutdown a connection can still slip into the queue and be
    // reset there; it was never accepted. Both calls stand next to each other for that reason.
    acceptBatch(INT_MAX, true);
    ::shutdown(fd_, SHUT_RDWR);
    reactor_->undefer(this);
    reactor_->disarm(this);
  }
  reactor_->remove(fd_);
  fd_ = -1;
  paused_ = false;
}

}  // namespace tlsfarm
