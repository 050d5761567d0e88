// Limits and time-outs as native/index.ts types them.
#ifndef TLSFARM_PLANE_LIMITS_H_
#define TLSFARM_PLANE_LIMITS_H_

#include <cstdint>

#include "sockets.h"

namespace tlsfarm {

struct Limits {
  uint32_t maxConnections = 8192;
  uint32_t maxUndecidedHellos = 4096;
};

struct Timeouts {
  uint32_t helloMs = 10000;
  uint32_t handshakeMs = 30000;
  uint32_t connectMs = 1000;
  uint32_t firstByteMs = 1000;
  uint32_t idleMs = 600000;
  uint32_t lingerMs = 5000;
  TcpOptions tcp;
};

}  // namespace tlsfarm

#endif
