#include "tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cstring>

#include "provider.h"

namespace tlsfarm {

namespace {

template <typename T, void (*free)(T*)>
struct Free {
  void operator()(T* pointer) const { free(pointer); }
};
using X509Ptr = std::unique_ptr<X509, Free<X509, X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Free<BIO, BIO_free_all>>;

struct Chain {
  X509Ptr leaf;
  STACK_OF(X509)* issuers = sk_X509_new_null();

  Chain() = default;
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  ~Chain() { sk_X509_pop_free(issuers, X509_free); }
};

bool fail(TlsError* error, const char* code, std::string message, int index = -1) {
  // What OpenSSL queued says less than our sentence and would surface at an innocent connection.
  ERR_clear_error();
  error->code = code;
  error->message = std::move(message);
  error->index = index;
  return false;
}

// The last reason OpenSSL gave, for sentences that cannot say it better.
std::string lastReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? reason : "no reason given";
}

BioPtr bioOf(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Never ask the terminal for a passphrase; remember that one was wanted.
int noPassphrase(char*, int, int, void* wanted) {
  *static_cast<bool*>(wanted) = true;
  return -1;
}

X509Ptr readCertificate(BIO* bio) {
  bool wanted = false;
  X509* certificate = X509_new_ex(providerLibrary(), nullptr);
  if (certificate == nullptr) return nullptr;
  if (PEM_read_bio_X509(bio, &certificate, noPassphrase, &wanted) == nullptr) {
    X509_free(certificate);
    return nullptr;
  }
  return X509Ptr(certificate);
}

bool readChain(const std::string& pem, int index, Chain* chain, TlsError* error) {
  BioPtr bio = bioOf(pem);
  chain->leaf = readCertificate(bio.get());
  if (chain->leaf == nullptr) {
    const bool absent = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    return fail(error, "CERT_PARSE",
                absent ? "no PEM certificate (-----BEGIN CERTIFICATE-----) found"
                       : "the certificate is damaged: " + lastReason(),
                index);
  }
  while (X509Ptr next = readCertificate(bio.get())) {
    sk_X509_push(chain->issuers, next.release());
  }
  const unsigned long last = ERR_peek_last_error();
  if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) {
    return fail(error, "CERT_PARSE",
                "certificate " + std::to_string(sk_X509_num(chain->issuers) + 2) +
                    " of the chain is damaged: " + lastReason(),
                index);
  }
  ERR_clear_error();
  return true;
}

KeyPtr readKey(const std::string& pem, int index, TlsError* error) {
  BioPtr bio = bioOf(pem);
  bool encrypted = false;
  // "provider=default": the numbers belong in software; our provider holds a reference to them.
  KeyPtr key(PEM_read_bio_PrivateKey_ex(bio.get(), nullptr, noPassphrase, &encrypted,
                                        providerLibrary(), kSoftwareProperties));
  if (key != nullptr) {
    ERR_clear_error();
    return key;
  }
  if (encrypted) {
    fail(error, "KEY_PARSE",
         "the private key is encrypted: decrypt it first (openssl pkey -in key.pem -out plain.pem)",
         index);
  } else if (pem.find("PRIVATE KEY-----") == std::string::npos) {
    fail(error, "KEY_PARSE", "no PEM private key (-----BEGIN PRIVATE KEY-----) found", index);
  } else {
    fail(error, "KEY_PARSE", "the private key is damaged: " + lastReason(), index);
  }
  return nullptr;
}

// Which slot of the SSL_CTX a key takes, or null for those we do not serve.
const char* keyType(const EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "RSA") == 1) return "RSA";
  if (EVP_PKEY_is_a(key, "EC") == 1) return "ECDSA";
  return nullptr;
}

bool checkKeyType(const EVP_PKEY* key, int index, TlsError* error) {
  const char* type = keyType(key);
  if (type == nullptr) {
    const char* name = EVP_PKEY_get0_type_name(key);
    return fail(error, "KEY_TYPE",
                std::string("a key of type ") + (name != nullptr ? name : "unknown") +
                    " is not supported: use RSA (up to 4096 bits) or ECDSA (P-256, P-384, P-521)",
                index);
  }
  if (strcmp(type, "RSA") == 0) {
    if (EVP_PKEY_get_bits(key) <= static_cast<int>(Operation::kMaxBytes) * 8) return true;
    return fail(error, "KEY_TYPE",
                "an RSA key of " + std::to_string(EVP_PKEY_get_bits(key)) +
                    " bits is not supported: use at most 4096",
                index);
  }
  // The curves that TLS has signature schemes for (RFC 8446 §4.2.3).
  char group[64] = "unnamed";
  EVP_PKEY_get_group_name(key, group, sizeof(group), nullptr);
  for (const char* known : {"prime256v1", "secp384r1", "secp521r1"}) {
    if (strcmp(group, known) == 0) return true;
  }
  return fail(error, "KEY_TYPE",
              std::string("an ECDSA key on curve ") + group +
                  " is not supported: use P-256, P-384 or P-521",
              index);
}

bool addCertificate(SSL_CTX* ctx, const CertificatePem& pem, int index, OffloadEngine* engine,
                    std::vector<std::string>* types, TlsError* error) {
  Chain chain;
  if (!readChain(pem.cert, index, &chain, error)) return false;
  KeyPtr software = readKey(pem.key, index, error);
  if (software == nullptr || !checkKeyType(software.get(), index, error)) return false;

  if (X509_get0_pubkey(chain.leaf.get()) == nullptr) {
    return fail(error, "CERT_PARSE", "the certificate's public key cannot be read", index);
  }
  if (X509_check_private_key(chain.leaf.get(), software.get()) != 1) {
    // The usual cause: the chain is in the wrong order.
    for (int i = 0; i < sk_X509_num(chain.issuers); i++) {
      if (X509_check_private_key(sk_X509_value(chain.issuers, i), software.get()) == 1) {
        return fail(error, "KEY_MISMATCH",
                    "the private key belongs to certificate " + std::to_string(i + 2) +
                        " of the chain: put that one (the leaf) first",
                    index);
      }
    }
    return fail(error, "KEY_MISMATCH",
                "the private key does not belong to the (first) certificate: is it the key of an "
                "older one?",
                index);
  }

  const std::string type = keyType(software.get());
  for (const std::string& other : *types) {
    if (other != type) continue;
    return fail(error, "KEY_DUPLICATE",
                "there is already a certificate with an " + type +
                    " key: give at most one RSA and one ECDSA certificate",
                index);
  }
  types->push_back(type);

  KeyPtr key(makeDeviceKey(providerLibrary(), software.get(), engine));
  if (key == nullptr) {
    return fail(error, "KEY_TYPE", "the " + type + " key cannot be used by the provider", index);
  }
  if (SSL_CTX_use_cert_and_key(ctx, chain.leaf.get(), key.get(), chain.issuers, 1) == 1) return true;

  switch (ERR_GET_REASON(ERR_peek_last_error())) {
    case SSL_R_EE_KEY_TOO_SMALL:
    case SSL_R_CA_KEY_TOO_SMALL:
    case SSL_R_CA_MD_TOO_WEAK:
      return fail(error, "CERT_WEAK",
                  "security level " + std::to_string(SSL_CTX_get_security_level(ctx)) +
                      " refuses the certificate or its chain: " + lastReason(),
                  index);
    default:
      return fail(error, "KEY_MISMATCH",
                  "OpenSSL refuses the certificate with this key: " + lastReason(), index);
  }
}

// ------------------------------------------------------------------------------------------------
// Lists. OpenSSL skips names that it does not know as long as one is left; an operator who misspelt
// a name wants to hear of it, so every element is tried alone.

std::vector<std::string> split(const std::string& list, const char* separators) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (at <= list.size()) {
    const size_t end = std::min(list.find_first_of(separators, at), list.size());
    if (end > at) parts.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

using SslCtxPtr = std::unique_ptr<SSL_CTX, Free<SSL_CTX, SSL_CTX_free>>;

SslCtxPtr newContext(int securityLevel) {
  SslCtxPtr ctx(SSL_CTX_new_ex(providerLibrary(), nullptr, TLS_server_method()));
  if (ctx != nullptr) SSL_CTX_set_security_level(ctx.get(), securityLevel);
  return ctx;
}

bool setCiphers(SSL_CTX* ctx, const TlsConfig& config, TlsError* error) {
  SslCtxPtr scratch = newContext(config.securityLevel);
  for (const std::string& element : split(config.ciphers, ": ,;")) {
    if (element[0] == '@') {
      if (element == "@STRENGTH") continue;
      return fail(error, "CIPHERS",
                  "\"" + element + "\" is not accepted in ciphers: set securityLevel instead");
    }
    // "!x", "-x" and "+x" only change what other elements selected: try x itself.
    const std::string name = element.substr(std::min(element.find_first_not_of("!-+"), element.size()));
    if (name.empty() || SSL_CTX_set_cipher_list(scratch.get(), name.c_str()) != 1) {
      return fail(error, "CIPHERS", "\"" + element + "\" in ciphers names no cipher of OpenSSL");
    }
  }
  if (SSL_CTX_set_cipher_list(ctx, config.ciphers.c_str()) != 1) {
    return fail(error, "CIPHERS",
                "ciphers selects no TLS 1.2 cipher at all: " + lastReason());
  }
  return true;
}

bool setCiphersuites(SSL_CTX* ctx, const TlsConfig& config, TlsError* error) {
  const std::vector<std::string> names = split(config.ciphersuites, ":");
  if (names.empty()) {
    return fail(error, "CIPHERSUITES",
                "ciphersuites is empty: TLS 1.3 needs at least one, e.g. TLS_AES_128_GCM_SHA256");
  }
  SslCtxPtr scratch = newContext(config.securityLevel);
  for (const std::string& name : names) {
    if (SSL_CTX_set_ciphersuites(scratch.get(), name.c_str()) == 1) continue;
    return fail(error, "CIPHERSUITES",
                "\"" + name + "\" in ciphersuites is not a TLS 1.3 cipher suite of OpenSSL");
  }
  if (SSL_CTX_set_ciphersuites(ctx, config.ciphersuites.c_str()) == 1) return true;
  return fail(error, "CIPHERSUITES", "OpenSSL refuses ciphersuites: " + lastReason());
}

bool setGroups(SSL_CTX* ctx, const TlsConfig& config, TlsError* error) {
  // 3.5 knows ':' between groups and '/' between tuples of equal rank, '?' = skip if unknown,
  // '*' = predict its key share, '-' = remove.
  const std::vector<std::string> names = split(config.groups, ":/");
  if (names.empty()) {
    return fail(error, "GROUPS", "groups is empty: give at least one, e.g. X25519");
  }
  SslCtxPtr scratch = newContext(config.securityLevel);
  for (const std::string& element : names) {
    const size_t start = element.find_first_not_of("?*-");
    const std::string name = start == std::string::npos ? "" : element.substr(start);
    const bool optional = element.substr(0, std::min(start, element.size())).find('?') !=
                          std::string::npos;
    if (!name.empty() && (optional || SSL_CTX_set1_groups_list(scratch.get(), name.c_str()) == 1)) {
      continue;
    }
    return fail(error, "GROUPS", "\"" + element + "\" in groups is not a group of OpenSSL");
  }
  if (SSL_CTX_set1_groups_list(ctx, config.groups.c_str()) == 1) return true;
  return fail(error, "GROUPS",
              "OpenSSL refuses groups as a whole (is one named twice?): " + lastReason());
}

// Our provider signs; it does not decrypt a premaster secret. And what it cannot do, nobody should
// want: without forward secrecy a stolen key opens every recorded connection.
bool checkCipherPolicy(SSL_CTX* ctx, TlsError* error) {
  const STACK_OF(SSL_CIPHER)* ciphers = SSL_CTX_get_ciphers(ctx);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(ciphers, i);
    const std::string name = SSL_CIPHER_get_name(cipher);
    const bool tls13 = strcmp(SSL_CIPHER_get_version(cipher), "TLSv1.3") == 0;
    if (SSL_CIPHER_get_kx_nid(cipher) == NID_kx_rsa) {
      return fail(error, "CIPHERS",
                  name + " uses RSA key exchange, which is not supported (no forward secrecy): "
                         "remove it from ciphers, or add !kRSA");
    }
    if (SSL_CIPHER_get_cipher_nid(cipher) == NID_undef) {
      return fail(error, tls13 ? "CIPHERSUITES" : "CIPHERS",
                  name + " does not encrypt: remove it" + (tls13 ? "" : ", or add !eNULL"));
    }
    if (SSL_CIPHER_get_auth_nid(cipher) == NID_auth_null) {
      return fail(error, "CIPHERS",
                  name + " does not authenticate the server: remove it, or add !aNULL");
    }
  }
  return true;
}

// A TLS 1.2 client can only be served with a cipher that fits a certificate; that is better heard
// now than as "no shared cipher" of every such client. (DHE does not count, see create().)
bool checkCiphersFit(SSL_CTX* ctx, const std::vector<std::string>& types, TlsError* error) {
  const STACK_OF(SSL_CIPHER)* ciphers = SSL_CTX_get_ciphers(ctx);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(ciphers, i);
    if (SSL_CIPHER_get_kx_nid(cipher) != NID_kx_ecdhe) continue;
    const int auth = SSL_CIPHER_get_auth_nid(cipher);
    for (const std::string& type : types) {
      if (auth == (type == "RSA" ? NID_auth_rsa : NID_auth_ecdsa)) return true;
    }
  }
  const std::string& type = types.front();
  return fail(error, "CIPHERS",
              "no TLS 1.2 cipher fits the " + type + " certificate: add one whose name starts with "
              "ECDHE-" + type + "-, or set minVersion to 1.3");
}

// RFC 7301 §3.2: our order decides; a client that offers ALPN without a protocol of ours is told so.
int selectAlpn(SSL*, const unsigned char** out, unsigned char* outLength, const unsigned char* in,
               unsigned int inLength, void* arg) {
  const auto* wire = static_cast<const std::string*>(arg);
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, outLength,
                            reinterpret_cast<const unsigned char*>(wire->data()),
                            static_cast<unsigned int>(wire->size()), in,
                            inLength) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // no_application_protocol(120)
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

std::unique_ptr<TlsContext> TlsContext::create(const TlsConfig& config, OffloadEngine* engine,
                                               TlsError* error) {
  ERR_clear_error();
  if (providerLibrary() == nullptr) {
    fail(error, "OPENSSL", "OpenSSL's providers cannot be loaded: " + lastReason());
    return nullptr;
  }
  if (config.securityLevel < 0 || config.securityLevel > 5) {
    fail(error, "SECLEVEL", "securityLevel is 0 to 5, not " + std::to_string(config.securityLevel));
    return nullptr;
  }
  if (config.certificates.empty()) {
    fail(error, "CERT_MISSING", "no certificate is given: a TLS server needs one");
    return nullptr;
  }
  std::string alpnWire;
  for (const std::string& protocol : config.alpn) {
    if (protocol.empty() || protocol.size() > 255) {  // RFC 7301 §3.1: opaque ProtocolName<1..2^8-1>
      fail(error, "ALPN", "an ALPN protocol name has 1 to 255 bytes");
      return nullptr;
    }
    alpnWire.push_back(static_cast<char>(protocol.size()));
    alpnWire += protocol;
  }
  // RFC 7301 §3.1: ProtocolName protocol_name_list<2..2^16-1>
  if (alpnWire.size() > 65535) {
    fail(error, "ALPN", "the ALPN protocol names together exceed 65535 bytes");
    return nullptr;
  }

  std::unique_ptr<TlsContext> context(new TlsContext());
  context->lib_ = providerLibrary();
  context->alpnWire_ = std::move(alpnWire);
  context->ctx_ = newContext(config.securityLevel).release();
  SSL_CTX* ctx = context->ctx_;
  if (ctx == nullptr) {
    fail(error, "OPENSSL", "SSL_CTX_new_ex failed: " + lastReason());
    return nullptr;
  }

  if (SSL_CTX_set_min_proto_version(ctx, config.minVersion) != 1 ||
      SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1) {
    fail(error, "VERSION", "OpenSSL refuses the protocol versions: " + lastReason());
    return nullptr;
  }
  // With TLS 1.3 alone nobody needs a TLS 1.2 list; one that is given is checked all the same.
  const bool wants12 = config.minVersion < TLS1_3_VERSION || !config.ciphers.empty();
  if (wants12 && !setCiphers(ctx, config, error)) return nullptr;
  if (!setCiphersuites(ctx, config, error)) return nullptr;
  if (wants12 && !checkCipherPolicy(ctx, error)) return nullptr;
  if (!setGroups(ctx, config, error)) return nullptr;

  std::vector<std::string> types;
  for (size_t i = 0; i < config.certificates.size(); i++) {
    if (!addCertificate(ctx, config.certificates[i], static_cast<int>(i), engine, &types, error)) {
      return nullptr;
    }
  }

  if (config.minVersion < TLS1_3_VERSION && !checkCiphersFit(ctx, types, error)) return nullptr;

  // NO_TICKET = stateful: TLS 1.3 tickets are then 32-byte session IDs through the same callbacks.
  // The client's order of ciphers counts (Mozilla intermediate): every one listed is good, and the
  // client knows whether it has AES in hardware.
  SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ALLOW_NO_DHE_KEX |
                                 SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(ctx, 1);  // every ticket is an insert into the table; browsers use one
  SSL_CTX_set_max_early_data(ctx, 0);
  SSL_CTX_set_recv_max_early_data(ctx, 0);
  // No Diffie-Hellman parameters: DHE ciphers may be listed (Mozilla's lists do) but are never
  // negotiated. A 2048-bit DHE exchange costs more than the signature, cannot be offloaded, and lets
  // one client burn a core (D(HE)at, CVE-2002-20001). Whoever speaks DHE today speaks ECDHE.
  SSL_CTX_set_dh_auto(ctx, 0);

  // The internal cache would bypass deletion, use limits and the ratio of full handshakes.
  SSL_CTX_set_session_cache_mode(
      ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR);
  static_assert(sizeof(config.fingerprint) <= SSL_MAX_SID_CTX_LENGTH);
  SSL_CTX_set_session_id_context(ctx, config.fingerprint, sizeof(config.fingerprint));
  SSL_CTX_set_timeout(ctx, config.sessionMaxAgeS);

  // SSL_MODE_ASYNC is set for each SSL, while it shakes hands only.
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            // The operator's file is the chain: do not look for more at every
                            // handshake, least of all among the CAs of client certificates.
                            SSL_MODE_NO_AUTO_CHAIN);
  if (!context->alpnWire_.empty()) {
    SSL_CTX_set_alpn_select_cb(ctx, selectAlpn, &context->alpnWire_);
  }
  ERR_clear_error();
  return context;
}

TlsContext::~TlsContext() { SSL_CTX_free(ctx_); }  // lib_ is the process's: see provider.h

}  // namespace tlsfarm
