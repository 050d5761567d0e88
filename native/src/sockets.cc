#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

namespace tlsfarm {

bool SocketAddress::setInternet(const std::string& host, uint16_t port) {
  storage = {};
  auto* four = reinterpret_cast<sockaddr_in*>(&storage);
  if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    length = sizeof *four;
    return true;
  }
  storage = {};
  auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    length = sizeof *six;
    return true;
  }
  return false;
}

bool SocketAddress::setUnix(const std::string& path) {
  storage = {};
  auto* unixAddress = reinterpret_cast<sockaddr_un*>(&storage);
  if (path.empty() || path.size() >= sizeof unixAddress->sun_path) return false;
  unixAddress->sun_family = AF_UNIX;
  memcpy(unixAddress->sun_path, path.data(), path.size());
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return true;
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  if (family() == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  }
  return 0;
}

size_t SocketAddress::hostText(char* out, size_t size) const {
  const void* bytes = nullptr;
  if (family() == AF_INET) bytes = &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr;
  if (family() == AF_INET6) bytes = &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
  if (bytes == nullptr || inet_ntop(family(), bytes, out, static_cast<socklen_t>(size)) == nullptr) {
    out[0] = 0;
    return 0;
  }
  return strlen(out);
}

void setTcpOptions(int fd, const TcpOptions& options) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &options.keepAliveIdleS, sizeof(int));
  const int intervalS = options.keepAliveIdleS / 4 > 0 ? options.keepAliveIdleS / 4 : 1;
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &intervalS, sizeof intervalS);
  const unsigned userTimeoutMs = static_cast<unsigned>(options.userTimeoutMs);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &userTimeoutMs, sizeof userTimeoutMs);
}

void resetOnClose(int fd) {
  const linger hard{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

int socketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

int openListener(const SocketAddress& address, int backlog, bool reusePort, uint16_t* port) {
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  if (address.family() != AF_UNIX) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (reusePort) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    // "::" means IPv6 only; who wants both lists both. A dual-stack socket would show IPv4 clients
    // as mapped addresses in every log and rule.
    if (address.family() == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (bind(fd, address.raw(), address.length) != 0 || listen(fd, backlog) != 0) {
    const int error = errno;
    ::close(fd);
    return -error;
  }
  SocketAddress bound;
  bound.length = sizeof bound.storage;
  getsockname(fd, bound.raw(), &bound.length);
  *port = bound.port();
  return fd;
}

}  // namespace tlsfarm
