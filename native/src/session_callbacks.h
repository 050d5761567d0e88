// OpenSSL's session callbacks over the shared-memory table. They run *on the fiber*: they touch
// native state only, never pause, never call JavaScript.
//
//   TLS 1.2 full:     generate id → new            TLS 1.2 resumed:  get
//   TLS 1.3 full:     generate id → new            TLS 1.3 resumed:  get → generate → new (a new id)
//
// After a HelloRetryRequest `get` runs a second time for the same hello: the first answer is kept in
// the connection's memo, so that one handshake costs one lookup and one use.
#ifndef TLSFARM_SESSION_CALLBACKS_H_
#define TLSFARM_SESSION_CALLBACKS_H_

#include <openssl/ssl.h>

#include <cstdint>

#include "counters.h"
#include "routable_id.h"
#include "session_table.h"
#include "tls_context.h"

namespace tlsfarm {

// What one handshake remembers of its lookups; lives in the connection, found by SSL_get_app_data.
struct HandshakeMemo {
  // An attacker's hello may offer a thousand identities: so many are looked up, the rest are misses.
  static constexpr int kMaxLookups = 8;
  uint8_t lookups = 0;
  bool offered = false;  // the client named a session (that looked like one of ours)
  bool found = false;
  uint8_t id[32];  // of the session found; the one that a TLS 1.3 renewal replaces
  int64_t fullHandshakeAtS = 0;
  int64_t expiresAtS = 0;
  uint32_t uses = 0;
};

class SessionCallbacks {
 public:
  // Everything outlives this object; `codec` may be null (no routing key: random ids).
  SessionCallbacks(SessionTable* table, RoutableIdCodec* codec, uint32_t originNode,
                   const TlsConfig& config, OSSL_LIB_CTX* lib, Counters<TerminatorCounter>* counters);
  void install(SSL_CTX* ctx);

 private:
  static int onGenerateId(SSL* ssl, unsigned char* id, unsigned int* length);
  static SSL_SESSION* onGet(SSL* ssl, const unsigned char* id, int length, int* copy);
  static int onNew(SSL* ssl, SSL_SESSION* session);
  static SessionCallbacks* of(const SSL* ssl);

  bool generate(unsigned char* id);
  SSL_SESSION* get(HandshakeMemo* memo, const unsigned char* id, int length);
  void store(SSL* ssl, HandshakeMemo* memo, SSL_SESSION* session);

  SessionTable* table_;
  RoutableIdCodec* codec_;
  uint32_t originNode_;
  int64_t maxAgeS_;
  uint8_t fingerprint_[32];
  OSSL_LIB_CTX* lib_;
  Counters<TerminatorCounter>* counters_;
  // 8 KiB do not belong on a 32 KiB fiber stack. One per loop is enough: nothing here pauses.
  SessionRecord scratch_;
};

}  // namespace tlsfarm

#endif
