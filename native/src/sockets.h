// Socket addresses and options, in one place.
#ifndef TLSFARM_SOCKETS_H_
#define TLSFARM_SOCKETS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace tlsfarm {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  // A literal IPv4 or IPv6 address (no names). False: not a literal.
  bool setInternet(const std::string& host, uint16_t port);
  // False: longer than sun_path.
  bool setUnix(const std::string& path);
  uint16_t port() const;
  // The address without the port, as text; empty for unix sockets.
  size_t hostText(char* out, size_t size) const;
};

struct TcpOptions {
  int keepAliveIdleS = 60;
  int userTimeoutMs = 600000;
};

// TCP_NODELAY, keepalive, TCP_USER_TIMEOUT. Errors are ignored: they only mean a unix socket.
void setTcpOptions(int fd, const TcpOptions& options);
// The next close() sends RST instead of FIN.
void resetOnClose(int fd);
int socketError(int fd);

// A non-blocking listening socket. Returns the fd or -errno. `reusePort` opens one slot of several:
// the caller has probed before that nobody else holds the address.
int openListener(const SocketAddress& address, int backlog, bool reusePort, uint16_t* port);

}  // namespace tlsfarm

#endif
