// A terminator's TLS context: private OSSL_LIB_CTX, our provider for the private keys, protocol
// policy. Session callbacks are set by session_callbacks.h afterwards.
#ifndef TLSFARM_TLS_CONTEXT_H_
#define TLSFARM_TLS_CONTEXT_H_

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "offload_engine.h"

namespace tlsfarm {

struct CertificatePem {
  std::string cert;  // chain, leaf first
  std::string key;
};

struct TlsConfig {
  std::vector<CertificatePem> certificates;
  int minVersion = TLS1_2_VERSION;  // TLS1_2_VERSION or TLS1_3_VERSION
  std::string ciphers, ciphersuites, groups;
  int securityLevel = 1;
  std::vector<std::string> alpn;
  unsigned char fingerprint[32] = {};  // session-id context
  long sessionMaxAgeS = 7200;
};

struct TlsError {
  std::string code;     // stable: CERT_PARSE, KEY_PARSE, KEY_MISMATCH, KEY_TYPE, CIPHERS, CIPHERSUITES, GROUPS, ...
  std::string message;  // one sentence for the operator; never key material
  int index = -1;       // which certificate, or -1
};

class TlsContext {
 public:
  // `engine` may be null: keys then compute inline (checkTls).
  static std::unique_ptr<TlsContext> create(const TlsConfig& config, OffloadEngine* engine,
                                            TlsError* error);
  ~TlsContext();
  SSL_CTX* sslCtx() const { return ctx_; }
  OSSL_LIB_CTX* libCtx() const { return lib_; }

 private:
  TlsContext() = default;
  SSL_CTX* ctx_ = nullptr;
  OSSL_LIB_CTX* lib_ = nullptr;
  std::string alpnWire_;  // length-prefixed, in our order of preference
};

}  // namespace tlsfarm

#endif
