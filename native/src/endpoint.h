// One socket of a connection and what edge-triggered epoll has told us about it.
//
// The flags are a cache of kernel state: `readable` and `writable` stay set until a call says
// EAGAIN (or reads short), because an edge is told only once. `hungUp` remembers that a FIN or RST
// has been announced: then a short read does not mean "drained", the end still has to be read.
#ifndef TLSFARM_ENDPOINT_H_
#define TLSFARM_ENDPOINT_H_

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdint>

#include "reactor.h"
#include "sockets.h"

namespace tlsfarm {

class Endpoint;

class EndpointOwner {
 public:
  virtual void onEndpoint(Endpoint* endpoint) = 0;

 protected:
  ~EndpointOwner() = default;
};

class Endpoint final : public EventHandler {
 public:
  static constexpr uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

  EndpointOwner* owner = nullptr;
  int fd = -1;
  bool readable = false;
  bool writable = false;
  bool hungUp = false;   // FIN or RST announced; reading will tell which
  bool failed = false;   // EPOLLERR: the socket is dead, what it has received can still be read
  bool broken = false;   // a send took the pending error: recv will say 0 where it means reset
  bool finSent = false;  // we have shut our sending side
  bool eof = false;      // the peer's FIN has been read

  // Bytes read beyond what OpenSSL had asked for, during the handshake only (endpoint_bio.cc).
  uint8_t* ahead = nullptr;
  uint32_t aheadStart = 0;
  uint32_t aheadEnd = 0;

  // A failed send consumes the socket's pending error, and a later recv says 0 for what was a reset.
  // EPIPE is different: the reset came after the peer's FIN, what it sent before is whole.
  void sendFailed(int error) {
    if (error != EPIPE) broken = true;
  }

  bool open() const { return fd >= 0; }

  void attach(int descriptor, EndpointOwner* who) {
    *this = Endpoint();
    fd = descriptor;
    owner = who;
  }

  void onEvents(uint32_t events) override {
    if (fd < 0) return;  // closed by an earlier event of the same batch
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) hungUp = true;
    if (events & EPOLLERR) failed = true;
    owner->onEndpoint(this);
  }

  // Closing takes it out of the epoll set. A reset is sent when the peer must not take what it got
  // for the whole.
  void close(bool reset = false) {
    if (fd < 0) return;
    if (reset && !failed) resetOnClose(fd);
    ::close(fd);
    fd = -1;
  }
};

}  // namespace tlsfarm

#endif
