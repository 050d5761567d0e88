// The SSL_CTX of a load generator: a TLS client that costs as little as an honest client can.
#ifndef TLSFARM_LOAD_CONTEXT_H_
#define TLSFARM_LOAD_CONTEXT_H_

#include <openssl/ssl.h>

#include <string>
#include <vector>

namespace tlsfarm {

struct LoadTlsConfig {
  int minVersion = TLS1_2_VERSION;
  int maxVersion = TLS1_3_VERSION;
  // Empty: the library's defaults.
  std::string ciphers;
  std::string ciphersuites;
  std::string groups;
  std::string signatureAlgorithms;
  std::vector<std::string> alpn;
  // PEM; empty: the certificate is not verified.
  std::string ca;
  // TLS 1.2: ask for no ticket, so that the session ID is what resumes.
  bool noTicket = false;
};

// Null, and `error` says which option OpenSSL refuses. The caller frees it.
SSL_CTX* newLoadContext(const LoadTlsConfig& config, std::string* error);

}  // namespace tlsfarm

#endif
