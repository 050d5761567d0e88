#include "bindings_tls.h"

#include <openssl/crypto.h>

#include <cstring>

#include "inline_device.h"
#include "test_device.h"

namespace tlsfarm {

namespace {

bool readString(Napi::Object object, const char* name, std::string* out, std::string* error) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) {
    *error = std::string(name) + " must be a string";
    return false;
  }
  *out = value.As<Napi::String>().Utf8Value();
  return true;
}

bool readNumber(Napi::Object object, const char* name, double least, double most, double* out,
                std::string* error) {
  const Napi::Value value = object.Get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : least - 1;
  if (!(number >= least && number <= most)) {
    *error = std::string(name) + " must be a number from " + std::to_string(int64_t(least)) +
             " to " + std::to_string(int64_t(most));
    return false;
  }
  *out = number;
  return true;
}

Napi::Value checkTls(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  TlsConfig config;
  std::string shape;
  if (!readTlsConfig(info[0], &config, &shape)) {
    Napi::TypeError::New(env, "checkTls: " + shape).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  TlsError error;
  const std::unique_ptr<TlsContext> context = TlsContext::create(config, nullptr, &error);
  // Our copies of the operator's private keys; the caller's strings are his.
  for (CertificatePem& pair : config.certificates) {
    OPENSSL_cleanse(pair.key.data(), pair.key.size());
  }
  if (context != nullptr) return env.Null();
  Napi::Object result = Napi::Object::New(env);
  result.Set("code", error.code);
  result.Set("message", error.message);
  result.Set("index", error.index);
  return result;
}

}  // namespace

bool readTlsConfig(Napi::Value value, TlsConfig* config, std::string* error) {
  if (!value.IsObject()) {
    *error = "tls must be an object";
    return false;
  }
  const Napi::Object tls = value.As<Napi::Object>();

  const Napi::Value certificates = tls.Get("certificates");
  if (!certificates.IsArray()) {
    *error = "certificates must be an array";
    return false;
  }
  const Napi::Array list = certificates.As<Napi::Array>();
  config->certificates.clear();
  config->certificates.reserve(list.Length());  // no stray copies of keys by a growing vector
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value entry = list.Get(i);
    if (!entry.IsObject()) {
      *error = "certificates must contain { cert, key }";
      return false;
    }
    CertificatePem& pair = config->certificates.emplace_back();
    if (!readString(entry.As<Napi::Object>(), "cert", &pair.cert, error) ||
        !readString(entry.As<Napi::Object>(), "key", &pair.key, error)) {
      return false;
    }
  }

  std::string version;
  if (!readString(tls, "minVersion", &version, error)) return false;
  if (version != "1.2" && version != "1.3") {
    *error = "minVersion must be '1.2' or '1.3'";
    return false;
  }
  config->minVersion = version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION;

  double level = 0;
  double maxAgeS = 0;
  if (!readString(tls, "ciphers", &config->ciphers, error) ||
      !readString(tls, "ciphersuites", &config->ciphersuites, error) ||
      !readString(tls, "groups", &config->groups, error) ||
      // Out of OpenSSL's range is the operator's mistake (SECLEVEL), not a wrong shape.
      !readNumber(tls, "securityLevel", -1000, 1000, &level, error) ||
      !readNumber(tls, "sessionMaxAgeS", 1, 1e9, &maxAgeS, error)) {
    return false;
  }
  config->securityLevel = static_cast<int>(level);
  config->sessionMaxAgeS = static_cast<long>(maxAgeS);

  const Napi::Value alpn = tls.Get("alpn");
  if (!alpn.IsArray()) {
    *error = "alpn must be an array";
    return false;
  }
  const Napi::Array protocols = alpn.As<Napi::Array>();
  config->alpn.clear();
  for (uint32_t i = 0; i < protocols.Length(); i++) {
    const Napi::Value protocol = protocols.Get(i);
    if (!protocol.IsString()) {
      *error = "alpn must contain strings";
      return false;
    }
    config->alpn.push_back(protocol.As<Napi::String>().Utf8Value());
  }

  const Napi::Value fingerprint = tls.Get("fingerprint");
  if (!fingerprint.IsTypedArray() ||
      fingerprint.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      fingerprint.As<Napi::Uint8Array>().ByteLength() != sizeof(config->fingerprint)) {
    *error = "fingerprint must be a Uint8Array of 32 bytes";
    return false;
  }
  memcpy(config->fingerprint, fingerprint.As<Napi::Uint8Array>().Data(),
         sizeof(config->fingerprint));
  return true;
}

std::unique_ptr<Device> makeDevice(Napi::Value value) {
  if (!value.IsObject()) return nullptr;
  const Napi::Object options = value.As<Napi::Object>();
  std::string kind;
  std::string error;
  if (!readString(options, "kind", &kind, &error)) return nullptr;
  if (kind == "inline") return std::make_unique<InlineDevice>();
  if (kind != "test") return nullptr;
  double polls = 0;
  double depth = 0;
  if (!readNumber(options, "polls", 1, 1e6, &polls, &error) ||
      !readNumber(options, "depth", 1, 1e6, &depth, &error)) {
    return nullptr;
  }
  const Napi::Value cancellable = options.Get("cancellable");
  return std::make_unique<TestDevice>(static_cast<int>(polls), static_cast<int>(depth),
                                      !cancellable.IsBoolean() || cancellable.As<Napi::Boolean>());
}

void registerTlsBindings(Napi::Env env, Napi::Object exports) {
  exports.Set("checkTls", Napi::Function::New(env, checkTls, "checkTls"));
}

}  // namespace tlsfarm
