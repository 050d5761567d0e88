// What JavaScript cannot reach, driven from within: the key provider, the offload engine, fibers and
// cancellation, with real handshakes through memory. A module of its own (target tlsfarm_selftest);
// every export runs one experiment and returns what it saw, test/native/offload.test.ts judges it.
//
//     client SSL (Node's default library context)  <-- BIO pair -->  server SSL (our context)
//                                                                       on a fiber, paused in
//                                                                       OffloadEngine::run
#include <napi.h>
#include <openssl/async.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "../src/fiber_stacks.h"
#include "../src/inline_device.h"
#include "../src/offload_engine.h"
#include "../src/provider.h"
#include "../src/test_device.h"
#include "../src/tls_context.h"

namespace tlsfarm {
namespace {

// ------------------------------------------------------------------------------------------------
// Keys and certificates

struct Identity {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
  CertificatePem pem;
};

std::string textOf(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(length));
  BIO_free(bio);
  return text;
}

EVP_PKEY* generate(const std::string& type) {
  OSSL_LIB_CTX* lib = providerLibrary();
  EVP_PKEY* key = nullptr;
  const bool rsa = type.rfind("rsa", 0) == 0;
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_name(lib, rsa ? "RSA" : "EC", kSoftwareProperties);
  EVP_PKEY_keygen_init(ctx);
  if (rsa) {
    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, atoi(type.c_str() + 3));
  } else {
    EVP_PKEY_CTX_set_group_name(ctx, type.c_str());
  }
  EVP_PKEY_generate(ctx, &key);
  EVP_PKEY_CTX_free(ctx);
  return key;
}

Identity makeIdentity(const std::string& type) {
  Identity id;
  id.key = generate(type);
  id.certificate = X509_new_ex(providerLibrary(), nullptr);
  X509_set_version(id.certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(id.certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(id.certificate), 86400);
  X509_set_pubkey(id.certificate, id.key);
  X509_NAME* name = X509_get_subject_name(id.certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("selftest"), -1, -1, 0);
  X509_set_issuer_name(id.certificate, name);
  EVP_MD* md = EVP_MD_fetch(providerLibrary(), "SHA256", kSoftwareProperties);
  X509_sign(id.certificate, id.key, md);
  EVP_MD_free(md);
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, id.certificate);
  id.pem.cert = textOf(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, id.key, nullptr, nullptr, 0, nullptr, nullptr);
  id.pem.key = textOf(bio);
  return id;
}

const Identity& rsaIdentity() {
  static const Identity id = makeIdentity("rsa2048");
  return id;
}
const Identity& ecIdentity() {
  static const Identity id = makeIdentity("P-256");
  return id;
}

// ------------------------------------------------------------------------------------------------
// Devices with faults

// Accepts, and answers every operation with failure at the next poll.
class FailingDevice final : public Device {
 public:
  Submit submit(Operation* op) override {
    op->ref();
    queue_.push_back(op);
    return Submit::kAccepted;
  }
  int poll(Completion* completion) override {
    std::deque<Operation*> ready;
    ready.swap(queue_);
    for (Operation* op : ready) {
      op->ok = false;
      completion->completed(op);
      op->unref();
    }
    return static_cast<int>(ready.size());
  }
  int inFlight() const override { return static_cast<int>(queue_.size()); }
  bool cancellable() const override { return true; }
  bool needsPolling() const override { return true; }
  void close() override {
    for (Operation* op : queue_) op->unref();
    queue_.clear();
  }

 private:
  std::deque<Operation*> queue_;
};

class RefusingDevice final : public Device {
 public:
  Submit submit(Operation*) override { return Submit::kRefused; }
  int poll(Completion*) override { return 0; }
  int inFlight() const override { return 0; }
  bool cancellable() const override { return true; }
  bool needsPolling() const override { return false; }
  void close() override {}
};

// ------------------------------------------------------------------------------------------------
// Connections

enum class State { kIdle, kNeedsPeer, kPaused, kNeedsFiber, kDone, kFailed };

struct Connection final : OperationOwner {
  SSL* server = nullptr;
  SSL* client = nullptr;
  State serverState = State::kIdle;
  State clientState = State::kIdle;
  int number = 0;
};

struct Options {
  std::string version = "1.3";
  std::string sigalgs;
  std::string device = "test";
  int connections = 64, polls = 4, depth = 64, corrupt = 0, fibers = 64;
  bool cancellable = true, clientCertificate = false;
};

Options readOptions(const Napi::Value& value) {
  Options options;
  if (!value.IsObject()) return options;
  Napi::Object o = value.As<Napi::Object>();
  const auto text = [&](const char* name, std::string* out) {
    if (o.Has(name)) *out = o.Get(name).ToString().Utf8Value();
  };
  const auto number = [&](const char* name, int* out) {
    if (o.Has(name)) *out = o.Get(name).ToNumber().Int32Value();
  };
  const auto flag = [&](const char* name, bool* out) {
    if (o.Has(name)) *out = o.Get(name).ToBoolean().Value();
  };
  text("version", &options.version);
  text("sigalgs", &options.sigalgs);
  text("device", &options.device);
  number("connections", &options.connections);
  number("polls", &options.polls);
  number("depth", &options.depth);
  number("corrupt", &options.corrupt);
  number("fibers", &options.fibers);
  flag("cancellable", &options.cancellable);
  flag("clientCertificate", &options.clientCertificate);
  return options;
}

std::unique_ptr<Device> deviceFor(const Options& options) {
  if (options.device == "inline") return std::make_unique<InlineDevice>();
  if (options.device == "failing") return std::make_unique<FailingDevice>();
  if (options.device == "refusing") return std::make_unique<RefusingDevice>();
  auto device = std::make_unique<TestDevice>(options.polls, options.depth, options.cancellable);
  device->corruptNext(options.corrupt);
  return device;
}

TlsConfig tlsConfig() {
  TlsConfig config;
  config.certificates = {rsaIdentity().pem, ecIdentity().pem};
  config.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
  config.ciphersuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
  config.groups = "X25519MLKEM768:X25519:prime256v1";
  config.alpn = {"http/1.1"};
  memset(config.fingerprint, 7, sizeof(config.fingerprint));
  return config;
}

int sessions(SSL*, SSL_SESSION*) { return 0; }

struct Farm {
  explicit Farm(const Options& wanted)
      : options(wanted), engine(std::make_unique<OffloadEngine>(deviceFor(wanted))) {
    closeFiberPool();
    initFiberPool(static_cast<size_t>(options.fibers));
    TlsError error;
    context = TlsContext::create(tlsConfig(), engine.get(), &error);
    if (context == nullptr) {
      problem = error.code + ": " + error.message;
      return;
    }
    SSL_CTX_sess_set_new_cb(context->sslCtx(), sessions);
    clientCtx = SSL_CTX_new(TLS_client_method());
    const int version = options.version == "1.2" ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(clientCtx, version);
    SSL_CTX_set_max_proto_version(clientCtx, version);
    if (!options.sigalgs.empty()) SSL_CTX_set1_sigalgs_list(clientCtx, options.sigalgs.c_str());
    X509_STORE_add_cert(SSL_CTX_get_cert_store(clientCtx), rsaIdentity().certificate);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(clientCtx), ecIdentity().certificate);
    SSL_CTX_set_verify(clientCtx, SSL_VERIFY_PEER, nullptr);
    static const unsigned char kAlpn[] = "\x02h2\x08http/1.1";
    SSL_CTX_set_alpn_protos(clientCtx, kAlpn, sizeof(kAlpn) - 1);
    if (options.clientCertificate) {
      SSL_CTX_use_certificate(clientCtx, rsaIdentity().certificate);
      SSL_CTX_use_PrivateKey(clientCtx, rsaIdentity().key);
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context->sslCtx()), rsaIdentity().certificate);
      SSL_CTX_set_verify(context->sslCtx(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                         nullptr);
    }
  }

  ~Farm() {
    for (auto& connection : connections) release(connection.get());
    connections.clear();
    context.reset();
    SSL_CTX_free(clientCtx);
    engine.reset();
    closeFiberPool();
  }

  Connection* connect() {
    auto connection = std::make_unique<Connection>();
    Connection* raw = connection.get();
    raw->number = static_cast<int>(connections.size());
    raw->server = SSL_new(context->sslCtx());
    raw->client = SSL_new(clientCtx);
    BIO* a = nullptr;
    BIO* b = nullptr;
    BIO_new_bio_pair(&a, 65536, &b, 65536);
    SSL_set_bio(raw->server, a, a);
    SSL_set_bio(raw->client, b, b);
    SSL_set_accept_state(raw->server);
    SSL_set_connect_state(raw->client);
    SSL_set_mode(raw->server, SSL_MODE_ASYNC);
    connections.push_back(std::move(connection));
    return raw;
  }

  static void release(Connection* connection) {
    if (connection->server != nullptr) {
      SSL_set_shutdown(connection->server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(connection->server);
    SSL_free(connection->client);
    connection->server = nullptr;
    connection->client = nullptr;
  }

  State shake(SSL* ssl) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl);
    if (result == 1) {
      // A success that leaves errors behind would break the next connection of this thread.
      if (ERR_peek_error() != 0) staleErrors++;
      return State::kDone;
    }
    switch (SSL_get_error(ssl, result)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return State::kNeedsPeer;
      case SSL_ERROR_WANT_ASYNC:
        if (ERR_peek_error() != 0) staleErrors++;
        return State::kPaused;
      case SSL_ERROR_WANT_ASYNC_JOB:
        return State::kNeedsFiber;
      default:
        return State::kFailed;
    }
  }

  State stepServer(Connection* c) {
    engine->setCurrent(c);
    c->serverState = shake(c->server);
    engine->setCurrent(nullptr);
    if (c->serverState == State::kDone) SSL_clear_mode(c->server, SSL_MODE_ASYNC);
    if (c->serverState == State::kNeedsFiber) poolExhausted++;
    return c->serverState;
  }

  // One turn of a loop: everybody who can go on does, then one poll, then the ready queue.
  bool turn() {
    bool moving = false;
    for (auto& owned : connections) {
      Connection* c = owned.get();
      if (c->server == nullptr) continue;
      if (c->clientState != State::kDone && c->clientState != State::kFailed) {
        c->clientState = shake(c->client);
        moving = true;
      }
      if (c->serverState == State::kPaused) {
        moving = true;
      } else if (c->serverState != State::kDone && c->serverState != State::kFailed) {
        stepServer(c);
        moving = true;
      }
    }
    if (engine->inFlight() > mostInFlight) mostInFlight = engine->inFlight();
    if (engine->inFlight() > 0) engine->poll();
    while (OperationOwner* owner = engine->popReady()) {
      auto* c = static_cast<Connection*>(owner);
      if (c->number < lastReady) outOfOrder++;
      lastReady = c->number;
      stepServer(c);
    }
    return moving;
  }

  bool runToEnd() {
    for (int i = 0; i < 100000; i++) {
      if (!turn()) return true;
    }
    return false;
  }

  // Until the connection's server side is paused.
  bool pause(Connection* c) {
    for (int i = 0; i < 10; i++) {
      c->clientState = shake(c->client);
      if (stepServer(c) == State::kPaused) return true;
    }
    return false;
  }

  Options options;
  std::string problem;
  std::unique_ptr<OffloadEngine> engine;
  std::unique_ptr<TlsContext> context;
  SSL_CTX* clientCtx = nullptr;
  std::vector<std::unique_ptr<Connection>> connections;
  int staleErrors = 0, mostInFlight = 0, outOfOrder = 0, lastReady = -1, poolExhausted = 0;
};

void addCounters(Napi::Object result, const OffloadCounters& c) {
  result.Set("submitted", static_cast<double>(c.submitted));
  result.Set("completed", static_cast<double>(c.completed));
  result.Set("failed", static_cast<double>(c.failed));
  result.Set("retries", static_cast<double>(c.retries));
  result.Set("queued", static_cast<double>(c.queued));
  result.Set("inlined", static_cast<double>(c.inlined));
  result.Set("polls", static_cast<double>(c.polls));
  result.Set("emptyPolls", static_cast<double>(c.emptyPolls));
  result.Set("cancelled", static_cast<double>(c.cancelled));
  result.Set("pauses", static_cast<double>(c.pauses));
  result.Set("verifyFailed", static_cast<double>(c.verifyFailed));
}

void addFarm(Napi::Object result, const Farm& farm) {
  addCounters(result, farm.engine->counters());
  result.Set("staleErrors", farm.staleErrors);
  result.Set("mostInFlight", farm.mostInFlight);
  result.Set("inFlightAtEnd", farm.engine->inFlight());
  result.Set("outOfOrder", farm.outOfOrder);
  result.Set("poolExhausted", farm.poolExhausted);
  const FiberStackStats stats = fiberStackStats();
  result.Set("stacksInUse", static_cast<double>(stats.inUse));
  result.Set("stackHighWater", static_cast<double>(fiberStackHighWater()));
}

bool talks(SSL* from, SSL* to) {
  char buffer[16];
  return SSL_write(from, "hello", 5) == 5 && SSL_read(to, buffer, sizeof(buffer)) == 5 &&
         memcmp(buffer, "hello", 5) == 0;
}

// ------------------------------------------------------------------------------------------------
// Experiments

// N handshakes at once to the end, then five bytes each way.
Napi::Value handshakes(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  Farm farm(readOptions(info[0]));
  result.Set("problem", farm.problem);
  if (!farm.problem.empty()) return result;
  for (int i = 0; i < farm.options.connections; i++) farm.connect();
  result.Set("ended", farm.runToEnd());
  int done = 0;
  int talked = 0;
  std::string signature = "none";
  std::string alpn = "none";
  for (auto& c : farm.connections) {
    if (c->serverState != State::kDone || c->clientState != State::kDone) continue;
    done++;
    if (talks(c->client, c->server) && talks(c->server, c->client)) talked++;
    int nid = NID_undef;
    if (SSL_get_peer_signature_type_nid(c->client, &nid) == 1) signature = OBJ_nid2sn(nid);
    const unsigned char* protocol = nullptr;
    unsigned int length = 0;
    SSL_get0_alpn_selected(c->server, &protocol, &length);
    if (length > 0) alpn.assign(reinterpret_cast<const char*>(protocol), length);
  }
  result.Set("done", done);
  result.Set("talked", talked);
  result.Set("signature", signature);
  result.Set("alpn", alpn);
  addFarm(result, farm);
  return result;
}

// Clients that vanish while their handshake waits for the device: `rounds` of eight paused
// connections, all cancelled and freed; then one that must still succeed.
Napi::Value cancels(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  Options options = readOptions(info[0]);
  const int rounds = info[1].ToNumber().Int32Value();
  Farm farm(options);
  result.Set("problem", farm.problem);
  if (!farm.problem.empty()) return result;
  int paused = 0;
  int cancelled = 0;
  int failedCleanly = 0;
  int zombies = 0;
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < 8; i++) paused += farm.pause(farm.connect());
    // Every other round some have completed, but their owners have not been told yet.
    if (round % 2 == 1) farm.engine->poll();
    for (auto& owned : farm.connections) {
      Connection* c = owned.get();
      SSL_free(c->client);  // the other half of the BIO pair: writes now fail
      c->client = nullptr;
      if (!farm.engine->cancel(c)) {
        zombies++;
        continue;
      }
      cancelled++;
      failedCleanly += farm.stepServer(c) == State::kFailed;
      Farm::release(c);
    }
    // What could not be cancelled comes back by itself, and fails then.
    for (int turns = 0; turns < 1000; turns++) {
      bool waiting = false;
      for (auto& owned : farm.connections) waiting |= owned->server != nullptr;
      if (!waiting) break;
      farm.engine->poll();
      while (OperationOwner* owner = farm.engine->popReady()) {
        auto* c = static_cast<Connection*>(owner);
        failedCleanly += farm.stepServer(c) == State::kFailed;
        Farm::release(c);
      }
    }
    for (auto& owned : farm.connections) {
      if (owned->server != nullptr) {
        result.Set("problem", "a zombie never came back");
        return result;
      }
    }
    farm.connections.clear();
  }
  for (int i = 0; i < 100 && farm.engine->inFlight() > 0; i++) farm.engine->poll();
  result.Set("paused", paused);
  result.Set("cancelledByCall", cancelled);
  result.Set("failedCleanly", failedCleanly);
  result.Set("zombies", zombies);
  ERR_clear_error();
  for (int i = 0; i < 8; i++) farm.connect();
  result.Set("ended", farm.runToEnd());
  int done = 0;
  for (auto& c : farm.connections) done += c->serverState == State::kDone;
  result.Set("doneAfterwards", done);
  addFarm(result, farm);
  return result;
}

// What a software verifier says of our signature over "message".
bool verifies(EVP_PKEY* software, const char* md, bool pss, const std::vector<uint8_t>& signature) {
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  EVP_PKEY_CTX* keyCtx = nullptr;
  bool ok = EVP_DigestVerifyInit_ex(ctx, &keyCtx, md, providerLibrary(), nullptr, software,
                                    nullptr) == 1;
  if (ok && pss) {
    ok = EVP_PKEY_CTX_set_rsa_padding(keyCtx, RSA_PKCS1_PSS_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(keyCtx, RSA_PSS_SALTLEN_DIGEST) == 1;
  }
  ok = ok && EVP_DigestVerify(ctx, signature.data(), signature.size(),
                              reinterpret_cast<const unsigned char*>("message"), 7) == 1;
  EVP_MD_CTX_free(ctx);
  return ok;
}

bool signs(EVP_PKEY* key, const char* md, bool pss, bool streaming, std::vector<uint8_t>* out) {
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  EVP_PKEY_CTX* keyCtx = nullptr;
  bool ok =
      EVP_DigestSignInit_ex(ctx, &keyCtx, md, providerLibrary(), nullptr, key, nullptr) == 1;
  if (ok && pss) {
    ok = EVP_PKEY_CTX_set_rsa_padding(keyCtx, RSA_PKCS1_PSS_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(keyCtx, RSA_PSS_SALTLEN_DIGEST) == 1;
  }
  size_t length = static_cast<size_t>(EVP_PKEY_get_size(key));
  out->assign(length, 0);
  if (ok && streaming) {
    ok = EVP_DigestSignUpdate(ctx, "mess", 4) == 1 && EVP_DigestSignUpdate(ctx, "age", 3) == 1 &&
         EVP_DigestSignFinal(ctx, out->data(), &length) == 1;
  } else if (ok) {
    ok = EVP_DigestSign(ctx, out->data(), &length,
                        reinterpret_cast<const unsigned char*>("message"), 7) == 1;
  }
  out->resize(ok ? length : 0);
  EVP_MD_CTX_free(ctx);
  return ok;
}

int ignoreExport(const OSSL_PARAM*, void*) { return 1; }

// The traps of keys held by reference, for one key type.
Napi::Value keyFacts(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  const std::string type = info[0].ToString().Utf8Value();
  const bool rsa = type.rfind("rsa", 0) == 0;
  ERR_clear_error();
  Identity id = makeIdentity(type);
  Identity other = makeIdentity(type);
  OffloadEngine engine(std::make_unique<InlineDevice>());
  EVP_PKEY* key = makeDeviceKey(providerLibrary(), id.key, &engine);
  result.Set("made", key != nullptr);
  if (key == nullptr) return result;
  const auto operations = [&] {
    return static_cast<double>(engine.counters().submitted + engine.counters().inlined);
  };

  // What must not leave.
  BIGNUM* number = nullptr;
  OSSL_PARAM* data = nullptr;
  unsigned char* der = nullptr;
  BIO* bio = BIO_new(BIO_s_mem());
  result.Set("exportsPrivate",
             EVP_PKEY_export(key, EVP_PKEY_KEYPAIR, ignoreExport, nullptr) == 1);
  result.Set("todataPrivate", EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &data) == 1);
  result.Set("i2dPrivate", i2d_PrivateKey(key, &der) > 0);
  result.Set("pemPrivate",
             PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  bool numbers = false;
  for (const char* name : {OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
                           OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_PRIV_KEY}) {
    numbers |= EVP_PKEY_get_bn_param(key, name, &number) == 1;
    BN_free(number);
    number = nullptr;
  }
  result.Set("privateNumbers", numbers);
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_pkey(providerLibrary(), key, nullptr);
  result.Set("signsInOtherProvider", EVP_PKEY_sign_init(ctx) == 1);
  EVP_PKEY_CTX_free(ctx);
  ctx = EVP_PKEY_CTX_new_from_pkey(providerLibrary(), key, nullptr);
  result.Set("decryptsInOtherProvider", EVP_PKEY_decrypt_init(ctx) == 1);
  EVP_PKEY_CTX_free(ctx);
  ctx = EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr);
  result.Set("signsInNodesProvider", ctx != nullptr && EVP_PKEY_sign_init(ctx) == 1);
  EVP_PKEY_CTX_free(ctx);
  ERR_clear_error();

  // What must.
  EVP_PKEY_CTX* publicCtx =
      EVP_PKEY_CTX_new_from_name(nullptr, rsa ? "RSA" : "EC", nullptr);
  EVP_PKEY* exported = nullptr;
  const bool todata = EVP_PKEY_todata(key, EVP_PKEY_PUBLIC_KEY, &data) == 1;
  result.Set("exportsPublic", todata && EVP_PKEY_fromdata_init(publicCtx) == 1 &&
                                  EVP_PKEY_fromdata(publicCtx, &exported, EVP_PKEY_PUBLIC_KEY,
                                                    data) == 1);
  result.Set("publicIsEqual", exported != nullptr && EVP_PKEY_eq(exported, id.key) == 1);
  EVP_PKEY_free(exported);
  EVP_PKEY_CTX_free(publicCtx);
  OSSL_PARAM_free(data);
  result.Set("i2dPublic", i2d_PUBKEY(key, &der) > 0);
  OPENSSL_free(der);
  result.Set("matchesCertificate", X509_check_private_key(id.certificate, key) == 1);
  result.Set("matchesOther", X509_check_private_key(other.certificate, key) == 1);
  result.Set("equalsSoftware", EVP_PKEY_eq(key, id.key) == 1 && EVP_PKEY_eq(id.key, key) == 1);
  result.Set("sameSizes", EVP_PKEY_get_bits(key) == EVP_PKEY_get_bits(id.key) &&
                              EVP_PKEY_get_size(key) == EVP_PKEY_get_size(id.key) &&
                              EVP_PKEY_get_security_bits(key) ==
                                  EVP_PKEY_get_security_bits(id.key));
  char digest[32] = "";
  EVP_PKEY_get_default_digest_name(key, digest, sizeof(digest));
  result.Set("defaultDigest", digest);
  char group[32] = "";
  EVP_PKEY_get_group_name(key, group, sizeof(group), nullptr);
  result.Set("group", group);
  ERR_clear_error();

  // Initialising and asking for the size touches no device; one signature is one operation.
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  result.Set("initOk", EVP_DigestSignInit_ex(md, nullptr, "SHA256", providerLibrary(), nullptr, key,
                                             nullptr) == 1);
  size_t length = 0;
  const auto* message = reinterpret_cast<const unsigned char*>("message");
  result.Set("sizeOk", EVP_DigestSign(md, nullptr, &length, message, 7) == 1 &&
                           length == static_cast<size_t>(EVP_PKEY_get_size(key)));
  result.Set("operationsAfterSize", operations());
  std::vector<uint8_t> signature(length + 8);
  result.Set("signOk", EVP_DigestSign(md, signature.data(), &length, message, 7) == 1);
  result.Set("operationsAfterSign", operations());
  size_t little = 16;
  result.Set("shortBufferRefused",
             EVP_DigestSign(md, signature.data(), &little, message, 7) != 1);
  result.Set("operationsAfterShort", operations());
  EVP_MD_CTX_free(md);
  ERR_clear_error();

  // Every digest and padding against the software verifier.
  int wrong = 0;
  int tried = 0;
  int stale = 0;
  for (const char* name : {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"}) {
    for (int pss = 0; pss <= (rsa ? 1 : 0); pss++) {
      for (int streaming = 0; streaming <= 1; streaming++) {
        std::vector<uint8_t> bytes;
        tried++;
        const bool ok = signs(key, name, pss == 1, streaming == 1, &bytes);
        stale += ERR_peek_error() != 0;
        wrong += !ok || !verifies(id.key, name, pss == 1, bytes);
      }
    }
  }
  std::vector<uint8_t> bytes;
  result.Set("wrongSignatures", wrong);
  result.Set("signaturesTried", tried);
  result.Set("staleErrors", stale);
  result.Set("signsMd5", signs(key, "MD5", false, false, &bytes));
  ERR_clear_error();
  result.Set("offloadedKeyWithoutEngine", [&] {
    EVP_PKEY* plain = makeDeviceKey(providerLibrary(), id.key, nullptr);
    const bool ok = signs(plain, "SHA256", rsa, false, &bytes) &&
                    verifies(id.key, "SHA256", rsa, bytes);
    EVP_PKEY_free(plain);
    return ok;
  }());

  // Nothing of this is visible to Node's own crypto.
  result.Set("visibleToNode", OSSL_PROVIDER_available(nullptr, "tlsfarm") == 1);
  // A fetch without properties must still find somebody who verifies.
  EVP_SIGNATURE* fetched =
      EVP_SIGNATURE_fetch(providerLibrary(), rsa ? "RSA" : "ECDSA", nullptr);
  result.Set("unqualifiedFetch",
             fetched == nullptr
                 ? "none"
                 : OSSL_PROVIDER_get0_name(EVP_SIGNATURE_get0_provider(fetched)));
  EVP_SIGNATURE_free(fetched);

  BIO_free(bio);
  EVP_PKEY_free(key);
  for (Identity* each : {&id, &other}) {
    EVP_PKEY_free(each->key);
    X509_free(each->certificate);
  }
  ERR_clear_error();
  return result;
}

// Ed25519 and RSA beyond 4096 bits have no place on a device.
Napi::Value refusedKeys(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  EVP_PKEY* ed = EVP_PKEY_Q_keygen(providerLibrary(), kSoftwareProperties, "ED25519");
  result.Set("ed25519", makeDeviceKey(providerLibrary(), ed, nullptr) != nullptr);
  EVP_PKEY_free(ed);
  return result;
}

// Cancelling what waits in our FIFO works even with a device that lets nothing go.
Napi::Value cancelQueued(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  Options options;
  options.depth = 2;
  options.polls = 50;
  options.cancellable = false;
  Farm farm(options);
  for (int i = 0; i < 6; i++) farm.pause(farm.connect());
  result.Set("inFlight", farm.engine->inFlight());
  result.Set("firstRefused", !farm.engine->cancel(farm.connections[0].get()));
  // Middle, last and first of the FIFO.
  int cancelled = 0;
  int failed = 0;
  for (int i : {3, 5, 2}) {
    Connection* c = farm.connections[static_cast<size_t>(i)].get();
    cancelled += farm.engine->cancel(c);
    failed += farm.stepServer(c) == State::kFailed;
    Farm::release(c);
  }
  result.Set("cancelledQueued", cancelled);
  result.Set("failedCleanly", failed);
  result.Set("inFlightAfter", farm.engine->inFlight());
  // 0 fails when it comes back, 1 and 4 succeed.
  farm.runToEnd();
  result.Set("cancelledOneFailed", farm.connections[0]->serverState == State::kFailed);
  result.Set("othersDone", farm.connections[1]->serverState == State::kDone &&
                               farm.connections[4]->serverState == State::kDone);
  result.Set("inFlightAtEnd", farm.engine->inFlight());
  return result;
}

// Calling SSL_do_handshake on a paused connection too early pauses again and submits nothing new.
Napi::Value earlyResume(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  Options options;
  options.polls = 1;
  Farm farm(options);
  Connection* c = farm.connect();
  result.Set("paused", farm.pause(c));
  bool still = true;
  for (int i = 0; i < 5; i++) still &= farm.stepServer(c) == State::kPaused;
  result.Set("stillPaused", still);
  result.Set("submitted", static_cast<double>(farm.engine->counters().submitted));
  farm.runToEnd();
  result.Set("done", c->serverState == State::kDone);
  return result;
}

// The engine goes away with operations in the device and in the FIFO (process end).
Napi::Value closeInFlight(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  OffloadEngine engine(std::make_unique<TestDevice>(4, 2, true));
  Options options;
  options.depth = 2;
  Farm farm(options);
  for (int i = 0; i < 5; i++) farm.pause(farm.connect());
  result.Set("inFlight", farm.engine->inFlight());
  for (auto& c : farm.connections) {
    farm.engine->cancel(c.get());
    farm.stepServer(c.get());
  }
  result.Set("inFlightAfterCancel", farm.engine->inFlight());
  return result;  // ~Farm closes the engine with two cancelled operations in the device
}

int recurse(int depth) {
  volatile char frame[1024];
  frame[0] = static_cast<char>(depth);
  if (depth > 1024) return frame[0];  // 1 MiB: far beyond any stack of ours
  return recurse(depth + 1) + frame[0];
}

int overflowJob(void*) { return recurse(0); }
int quietJob(void*) { return 1; }

int runJob(int (*function)(void*)) {
  ASYNC_JOB* job = nullptr;
  ASYNC_WAIT_CTX* wait = ASYNC_WAIT_CTX_new();
  int value = 0;
  ASYNC_start_job(&job, wait, &value, function, nullptr, 0);
  ASYNC_WAIT_CTX_free(wait);
  return value;
}

// In a child process: a fiber that needs more than its stack hits the guard instead of the heap.
Napi::Value overflow(const Napi::CallbackInfo& info) {
  const pid_t pid = fork();
  if (pid == 0) {
    const rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    runJob(overflowJob);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return Napi::Number::New(info.Env(), WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

Napi::Value runOneJob(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), runJob(quietJob));
}

Napi::Value install(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), installFiberStacks());
}

Napi::Value poolRules(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  closeFiberPool();
  result.Set("first", initFiberPool(8));
  result.Set("same", initFiberPool(8));
  result.Set("smaller", initFiberPool(4));
  result.Set("larger", initFiberPool(9));
  runJob(quietJob);
  result.Set("oneStack", static_cast<double>(fiberStackStats().inUse));
  closeFiberPool();
  result.Set("noStack", static_cast<double>(fiberStackStats().inUse));
  return result;
}

// Microseconds per RSA-2048 signature: plain software key, and ours (encoding, operation, check).
Napi::Value signatureCost(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  const int rounds = info[0].ToNumber().Int32Value();
  EVP_PKEY* key = makeDeviceKey(providerLibrary(), rsaIdentity().key, nullptr);
  const auto measure = [&](EVP_PKEY* which) {
    std::vector<uint8_t> bytes;
    timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (int i = 0; i < rounds; i++) signs(which, "SHA256", true, false, &bytes);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / 1e3 / rounds;
  };
  measure(key);
  result.Set("softwareUs", measure(rsaIdentity().key));
  result.Set("providerUs", measure(key));
  EVP_PKEY_free(key);
  return result;
}

Napi::Object start(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("install", install);
  add("runOneJob", runOneJob);
  add("poolRules", poolRules);
  add("overflow", overflow);
  add("keyFacts", keyFacts);
  add("refusedKeys", refusedKeys);
  add("handshakes", handshakes);
  add("cancels", cancels);
  add("cancelQueued", cancelQueued);
  add("earlyResume", earlyResume);
  add("closeInFlight", closeInFlight);
  add("signatureCost", signatureCost);
  return exports;
}

}  // namespace
}  // namespace tlsfarm

static Napi::Object startModule(Napi::Env env, Napi::Object exports) {
  return tlsfarm::start(env, exports);
}

NODE_API_MODULE(tlsfarm_selftest, startModule)
