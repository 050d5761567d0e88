#include "load_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "provider.h"

namespace tlsfarm {

namespace {

struct FreeContext {
  void operator()(SSL_CTX* ctx) const { SSL_CTX_free(ctx); }
};

std::string lastReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? reason : "no reason given";
}

SSL_CTX* refused(const std::string& what, std::string* error) {
  *error = what + ": " + lastReason();
  ERR_clear_error();
  return nullptr;
}

// How many certificates were added; -1: damaged.
int addAuthorities(SSL_CTX* ctx, const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  int added = 0;
  for (;;) {
    X509* certificate = X509_new_ex(providerLibrary(), nullptr);
    if (PEM_read_bio_X509(bio, &certificate, nullptr, nullptr) == nullptr) {
      X509_free(certificate);
      break;
    }
    if (X509_STORE_add_cert(store, certificate) == 1) added += 1;
    X509_free(certificate);
  }
  BIO_free(bio);
  const unsigned long last = ERR_peek_last_error();
  if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) return -1;
  ERR_clear_error();
  return added;
}

}  // namespace

SSL_CTX* newLoadContext(const LoadTlsConfig& config, std::string* error) {
  ERR_clear_error();
  OSSL_LIB_CTX* library = providerLibrary();
  if (library == nullptr) return refused("OpenSSL's providers cannot be loaded", error);
  std::unique_ptr<SSL_CTX, FreeContext> context(
      SSL_CTX_new_ex(library, nullptr, TLS_client_method()));
  SSL_CTX* ctx = context.get();
  if (ctx == nullptr) return refused("SSL_CTX_new_ex failed", error);

  // What is measured may be old or small on purpose; strength is the server's business here.
  SSL_CTX_set_security_level(ctx, 1);
  if (SSL_CTX_set_min_proto_version(ctx, config.minVersion) != 1 ||
      SSL_CTX_set_max_proto_version(ctx, config.maxVersion) != 1) {
    return refused("OpenSSL refuses the TLS version", error);
  }
  if (!config.ciphers.empty() && SSL_CTX_set_cipher_list(ctx, config.ciphers.c_str()) != 1) {
    return refused("no cipher of OpenSSL is in \"" + config.ciphers + "\"", error);
  }
  if (!config.ciphersuites.empty() &&
      SSL_CTX_set_ciphersuites(ctx, config.ciphersuites.c_str()) != 1) {
    return refused("OpenSSL refuses the TLS 1.3 suites \"" + config.ciphersuites + "\"", error);
  }
  if (!config.groups.empty() && SSL_CTX_set1_groups_list(ctx, config.groups.c_str()) != 1) {
    return refused("OpenSSL refuses the groups \"" + config.groups + "\"", error);
  }
  if (!config.signatureAlgorithms.empty() &&
      SSL_CTX_set1_sigalgs_list(ctx, config.signatureAlgorithms.c_str()) != 1) {
    return refused(
        "OpenSSL refuses the signature algorithms \"" + config.signatureAlgorithms + "\"", error);
  }
  if (!config.alpn.empty()) {
    std::string wire;
    for (const std::string& protocol : config.alpn) {
      wire.push_back(static_cast<char>(protocol.size()));
      wire += protocol;
    }
    // Zero is success here, unlike everywhere else.
    if (SSL_CTX_set_alpn_protos(ctx, reinterpret_cast<const unsigned char*>(wire.data()),
                                static_cast<unsigned>(wire.size())) != 0) {
      return refused("OpenSSL refuses the ALPN protocols", error);
    }
  }
  if (config.ca.empty()) {
    // SSL_VERIFY_NONE alone still builds and checks the chain, and ignores the verdict.
    SSL_CTX_set_cert_verify_callback(
        ctx, [](X509_STORE_CTX*, void*) { return 1; }, nullptr);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, nullptr);
  } else {
    const int added = addAuthorities(ctx, config.ca);
    if (added < 0) return refused("the CA certificates are damaged", error);
    if (added == 0) {
      *error = "no PEM certificate (-----BEGIN CERTIFICATE-----) among the CA certificates";
      return nullptr;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
  }
  if (config.noTicket) SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  // Clients carry their sessions themselves; OpenSSL's cache is only asked to report them.
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ctx, 1);
  ERR_clear_error();
  return context.release();
}

}  // namespace tlsfarm
