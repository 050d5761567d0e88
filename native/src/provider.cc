#include "provider.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include <atomic>
#include <cstring>
#include <new>

namespace tlsfarm {

namespace {

// ------------------------------------------------------------------------------------------------
// Keys

// How makeDeviceKey hands a reference through EVP_PKEY_fromdata. It never leaves the process.
constexpr char kReferenceParam[] = "tlsfarm-reference";

struct KeyReference {
  EVP_PKEY* software;
  OffloadEngine* engine;
};

struct DeviceKey {
  bool rsa = false;
  bool hasPrivate = false;       // false: only the public part, imported from another provider
  EVP_PKEY* software = nullptr;  // owned
  OffloadEngine* engine = nullptr;
};

void* keyNew(bool rsa) {
  auto* key = new (std::nothrow) DeviceKey;
  if (key != nullptr) key->rsa = rsa;
  return key;
}
void* rsaKeyNew(void*) { return keyNew(true); }
void* ecKeyNew(void*) { return keyNew(false); }

void keyFree(void* data) {
  auto* key = static_cast<DeviceKey*>(data);
  if (key == nullptr) return;
  EVP_PKEY_free(key->software);
  delete key;
}

int keyHas(const void* data, int selection) {
  const auto* key = static_cast<const DeviceKey*>(data);
  if (key == nullptr || key->software == nullptr) return 0;
  // Domain and other parameters always come with the key.
  return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || key->hasPrivate;
}

// Compares public parts only: it is what X509_check_private_key asks, and all that we would answer.
int keyMatch(const void* data1, const void* data2, int selection) {
  const auto* a = static_cast<const DeviceKey*>(data1);
  const auto* b = static_cast<const DeviceKey*>(data2);
  if (a == nullptr || b == nullptr || a->software == nullptr || b->software == nullptr) return 0;
  if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) == 0) {
    return EVP_PKEY_parameters_eq(a->software, b->software) == 1;
  }
  return EVP_PKEY_eq(a->software, b->software) == 1;
}

// From another provider only the public part may come in (to be compared with ours); the private one
// comes by reference, never as numbers.
int keyImport(void* data, int selection, const OSSL_PARAM params[]) {
  auto* key = static_cast<DeviceKey*>(data);
  if (key == nullptr || key->software != nullptr) return 0;

  const OSSL_PARAM* param = OSSL_PARAM_locate_const(params, kReferenceParam);
  if (param != nullptr) {
    if (param->data_type != OSSL_PARAM_OCTET_STRING || param->data_size != sizeof(KeyReference)) {
      return 0;
    }
    KeyReference reference;
    memcpy(&reference, param->data, sizeof(reference));
    if (EVP_PKEY_up_ref(reference.software) != 1) return 0;
    key->software = reference.software;
    key->engine = reference.engine;
    key->hasPrivate = true;
    return 1;
  }

  if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0) return 0;
  EVP_PKEY_CTX* ctx =
      EVP_PKEY_CTX_new_from_name(providerLibrary(), key->rsa ? "RSA" : "EC", kSoftwareProperties);
  const int ok = ctx != nullptr && EVP_PKEY_fromdata_init(ctx) > 0 &&
                 EVP_PKEY_fromdata(ctx, &key->software, selection,
                                   const_cast<OSSL_PARAM*>(params)) > 0;
  EVP_PKEY_CTX_free(ctx);
  return ok;
}

// Refusing the private part is what keeps the key here: libcrypto would otherwise export it silently
// and sign in software.
int keyExport(void* data, int selection, OSSL_CALLBACK* callback, void* arg) {
  const auto* key = static_cast<const DeviceKey*>(data);
  if (key == nullptr || key->software == nullptr) return 0;
  if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0) return 0;
  return EVP_PKEY_export(key->software, selection, callback, arg);
}

const OSSL_PARAM kRsaPublicTypes[] = {OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, nullptr, 0),
                                      OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, nullptr, 0),
                                      OSSL_PARAM_END};
const OSSL_PARAM kEcPublicTypes[] = {
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, nullptr, 0),
    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, nullptr, 0), OSSL_PARAM_END};
const OSSL_PARAM kNoTypes[] = {OSSL_PARAM_END};

const OSSL_PARAM* rsaTypes(int selection) {
  return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 ? kNoTypes : kRsaPublicTypes;
}
const OSSL_PARAM* ecTypes(int selection) {
  return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 ? kNoTypes : kEcPublicTypes;
}

// What may be asked of a key, answered by the software key. A list of what is allowed, because the
// software key would answer a question for its private numbers as well.
const OSSL_PARAM kRsaGettable[] = {
    OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, nullptr),
    OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, nullptr),
    OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, nullptr),  // TLS 1.3 fails without
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, nullptr, 0),
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, nullptr, 0),
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, nullptr, 0),
    OSSL_PARAM_END};
const OSSL_PARAM kEcGettable[] = {
    OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, nullptr),
    OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, nullptr),
    OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, nullptr),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, nullptr, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, nullptr, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, nullptr, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_FIELD_TYPE, nullptr, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, nullptr, 0),
    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, nullptr, 0),
    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, nullptr, 0),
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, nullptr, 0),
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, nullptr, 0),
    OSSL_PARAM_END};

const OSSL_PARAM* rsaGettable(void*) { return kRsaGettable; }
const OSSL_PARAM* ecGettable(void*) { return kEcGettable; }

int keyGetParams(void* data, OSSL_PARAM params[]) {
  const auto* key = static_cast<const DeviceKey*>(data);
  if (key == nullptr || key->software == nullptr) return 0;
  const OSSL_PARAM* allowed = key->rsa ? kRsaGettable : kEcGettable;
  for (OSSL_PARAM* param = params; param->key != nullptr; param++) {
    if (OSSL_PARAM_locate_const(allowed, param->key) == nullptr) continue;
    OSSL_PARAM one[2] = {*param, OSSL_PARAM_construct_end()};
    if (EVP_PKEY_get_params(key->software, one) != 1) return 0;
    param->return_size = one[0].return_size;
  }
  return 1;
}

const char* ecOperationName(int operation) {
  return operation == OSSL_OP_SIGNATURE ? "ECDSA" : nullptr;
}

// ------------------------------------------------------------------------------------------------
// Encodings (RFC 8017)

struct Digest {
  const char* name;       // as libcrypto names it
  const char* tls;        // its other usual name
  uint8_t length;
  uint8_t prefixLength;
  uint8_t prefix[19];     // DER of DigestInfo up to the hash (RFC 8017 §9.2, note 1)
};

constexpr Digest kDigests[] = {
    // SHA-1 and SHA-224 are reached only with security level 0 or by TLS 1.2 clients that offer
    // nothing better; libssl decides.
    {"SHA1", "SHA-1", 20, 15,
     {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}},
    {"SHA2-224", "SHA224", 28, 19,
     {0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04, 0x05,
      0x00, 0x04, 0x1c}},
    {"SHA2-256", "SHA256", 32, 19,
     {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
      0x00, 0x04, 0x20}},
    {"SHA2-384", "SHA384", 48, 19,
     {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
      0x00, 0x04, 0x30}},
    {"SHA2-512", "SHA512", 64, 19,
     {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05,
      0x00, 0x04, 0x40}},
};
constexpr size_t kMaxHash = 64;

// EMSA-PKCS1-v1_5 (RFC 8017 §9.2): 00 01 FF..FF 00 DigestInfo
bool encodePkcs1(const Digest& digest, const uint8_t* hash, uint8_t* em, size_t emLength) {
  const size_t tLength = size_t{digest.prefixLength} + digest.length;
  if (emLength < tLength + 11) return false;  // step 3: "intended encoded message length too short"
  const size_t padding = emLength - tLength - 3;
  em[0] = 0x00;
  em[1] = 0x01;
  memset(em + 2, 0xff, padding);
  em[2 + padding] = 0x00;
  memcpy(em + 3 + padding, digest.prefix, digest.prefixLength);
  memcpy(em + 3 + padding + digest.prefixLength, hash, digest.length);
  return true;
}

// MGF1 (RFC 8017 §B.2.1), xored onto `data`.
bool xorMgf1(const EVP_MD* md, const uint8_t* seed, size_t seedLength, uint8_t* data,
             size_t length) {
  uint8_t block[kMaxHash];
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  bool ok = ctx != nullptr;
  uint32_t counter = 0;
  for (size_t at = 0; ok && at < length; counter++) {
    const uint8_t be[4] = {static_cast<uint8_t>(counter >> 24), static_cast<uint8_t>(counter >> 16),
                           static_cast<uint8_t>(counter >> 8), static_cast<uint8_t>(counter)};
    unsigned int hashLength = 0;
    ok = EVP_DigestInit_ex2(ctx, md, nullptr) == 1 &&
         EVP_DigestUpdate(ctx, seed, seedLength) == 1 && EVP_DigestUpdate(ctx, be, 4) == 1 &&
         EVP_DigestFinal_ex(ctx, block, &hashLength) == 1;
    for (size_t i = 0; ok && i < hashLength && at < length; i++, at++) data[at] ^= block[i];
  }
  EVP_MD_CTX_free(ctx);
  return ok;
}

// EMSA-PSS-ENCODE (RFC 8017 §9.1.1); emBits is one less than the modulus has:
//
//     em = maskedDB | H | bc       DB = 00..00 | 01 | salt
bool encodePss(const EVP_MD* md, const Digest& digest, const uint8_t* hash, size_t saltLength,
               size_t modulusBits, uint8_t* out, size_t outLength) {
  const size_t emBits = modulusBits - 1;
  const size_t emLength = (emBits + 7) / 8;
  // The integer is one byte shorter than the modulus when modulusBits is 8k + 1.
  uint8_t* em = out + (outLength - emLength);
  memset(out, 0, outLength);
  const size_t hashLength = digest.length;
  if (saltLength > kMaxHash || emLength < hashLength + saltLength + 2) return false;  // step 3

  const size_t dbLength = emLength - hashLength - 1;
  uint8_t* salt = em + dbLength - saltLength;
  if (saltLength > 0 && RAND_bytes_ex(providerLibrary(), salt, saltLength, 0) != 1) return false;
  em[dbLength - saltLength - 1] = 0x01;

  uint8_t* h = em + dbLength;
  static constexpr uint8_t kZeros[8] = {};  // step 5: M' = eight zero bytes | mHash | salt
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  const bool hashed =
      ctx != nullptr && EVP_DigestInit_ex2(ctx, md, nullptr) == 1 &&
      EVP_DigestUpdate(ctx, kZeros, sizeof(kZeros)) == 1 &&
      EVP_DigestUpdate(ctx, hash, hashLength) == 1 && EVP_DigestUpdate(ctx, salt, saltLength) == 1 &&
      EVP_DigestFinal_ex(ctx, h, nullptr) == 1;
  EVP_MD_CTX_free(ctx);
  if (!hashed || !xorMgf1(md, h, hashLength, em, dbLength)) return false;
  em[0] &= static_cast<uint8_t>(0xff >> (8 * emLength - emBits));  // step 11
  em[emLength - 1] = 0xbc;
  return true;
}

// ------------------------------------------------------------------------------------------------
// Signatures

struct SignContext {
  EVP_PKEY* software = nullptr;  // owned
  OffloadEngine* engine = nullptr;
  bool rsa = false;
  bool pss = false;
  int saltLength = RSA_PSS_SALTLEN_DIGEST;
  EVP_MD* md = nullptr;
  const Digest* digest = nullptr;
  EVP_MD_CTX* stream = nullptr;  // only while digest_sign_update is used
};

void* signNew(void*, const char*) { return new (std::nothrow) SignContext; }

void signFree(void* data) {
  auto* ctx = static_cast<SignContext*>(data);
  if (ctx == nullptr) return;
  EVP_PKEY_free(ctx->software);
  EVP_MD_free(ctx->md);
  EVP_MD_CTX_free(ctx->stream);
  delete ctx;
}

int readPadMode(const OSSL_PARAM* param, int* mode) {
  // libssl sends an int, configuration strings send text.
  if (param->data_type == OSSL_PARAM_UTF8_STRING) {
    const auto* text = static_cast<const char*>(param->data);
    if (text == nullptr) return 0;
    if (strcmp(text, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0) {
      *mode = RSA_PKCS1_PADDING;
    } else if (strcmp(text, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0) {
      *mode = RSA_PKCS1_PSS_PADDING;
    } else {
      return 0;
    }
    return 1;
  }
  return OSSL_PARAM_get_int(param, mode);
}

int readSaltLength(const OSSL_PARAM* param, int* length) {
  if (param->data_type == OSSL_PARAM_UTF8_STRING) {
    const auto* text = static_cast<const char*>(param->data);
    if (text == nullptr) return 0;
    if (strcmp(text, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0) {
      *length = RSA_PSS_SALTLEN_DIGEST;
      return 1;
    }
    int value = 0;  // no library call parses it without either exceptions or errno
    if (*text == '\0') return 0;
    for (; *text != '\0'; text++) {
      if (*text < '0' || *text > '9' || value > 1000) return 0;
      value = value * 10 + (*text - '0');
    }
    *length = value;
    return 1;
  }
  return OSSL_PARAM_get_int(param, length);
}

int signSetParams(void* data, const OSSL_PARAM params[]) {
  auto* ctx = static_cast<SignContext*>(data);
  if (ctx == nullptr) return 0;
  if (params == nullptr || !ctx->rsa) return 1;
  const OSSL_PARAM* param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
  if (param != nullptr) {
    int mode = 0;
    if (readPadMode(param, &mode) != 1) return 0;
    if (mode != RSA_PKCS1_PADDING && mode != RSA_PKCS1_PSS_PADDING) return 0;
    ctx->pss = mode == RSA_PKCS1_PSS_PADDING;
  }
  param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
  if (param != nullptr) {
    int length = 0;
    if (!ctx->pss || readSaltLength(param, &length) != 1) return 0;
    // TLS 1.3 and 1.2 ask for "digest" (RFC 8446 §4.2.3). "auto" and "max" have no use here.
    if (length != RSA_PSS_SALTLEN_DIGEST && (length < 0 || length > static_cast<int>(kMaxHash))) {
      return 0;
    }
    ctx->saltLength = length;
  }
  param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
  if (param != nullptr) {
    // RFC 8446 §4.2.3: MGF1 uses the digest of the signature.
    if (param->data_type != OSSL_PARAM_UTF8_STRING || ctx->md == nullptr ||
        EVP_MD_is_a(ctx->md, static_cast<const char*>(param->data)) != 1) {
      return 0;
    }
  }
  return 1;
}

const OSSL_PARAM kRsaSettable[] = {
    OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PAD_MODE, nullptr),
    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, nullptr, 0),
    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, nullptr, 0), OSSL_PARAM_END};

const OSSL_PARAM* rsaSettable(void*, void*) { return kRsaSettable; }
const OSSL_PARAM* ecSettable(void*, void*) { return kNoTypes; }

// Runs at least twice per handshake, once only to ask whether the key can do this digest: nothing
// here touches the device.
int signInit(void* data, const char* mdName, void* keyData, const OSSL_PARAM params[]) {
  auto* ctx = static_cast<SignContext*>(data);
  const auto* key = static_cast<const DeviceKey*>(keyData);
  if (ctx == nullptr) return 0;
  if (key != nullptr) {
    if (!key->hasPrivate || EVP_PKEY_up_ref(key->software) != 1) return 0;
    EVP_PKEY_free(ctx->software);
    ctx->software = key->software;
    ctx->engine = key->engine;
    ctx->rsa = key->rsa;
  }
  if (ctx->software == nullptr) return 0;

  EVP_MD_CTX_free(ctx->stream);
  ctx->stream = nullptr;
  ctx->pss = false;
  ctx->saltLength = RSA_PSS_SALTLEN_DIGEST;
  ctx->digest = nullptr;
  EVP_MD_free(ctx->md);
  ctx->md = EVP_MD_fetch(providerLibrary(), mdName != nullptr && *mdName != '\0' ? mdName : "SHA256",
                         kSoftwareProperties);
  if (ctx->md == nullptr) return 0;
  for (const Digest& digest : kDigests) {
    if (EVP_MD_is_a(ctx->md, digest.name) == 1) ctx->digest = &digest;
  }
  return ctx->digest != nullptr && signSetParams(ctx, params);
}

// s^e mod n, to be compared with what was to be signed.
bool rsaPublic(EVP_PKEY* key, const uint8_t* in, size_t length, uint8_t* out) {
  ERR_set_mark();
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_pkey(providerLibrary(), key, kSoftwareProperties);
  size_t outLength = length;
  const bool ok = ctx != nullptr && EVP_PKEY_encrypt_init(ctx) > 0 &&
                  EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) > 0 &&
                  EVP_PKEY_encrypt(ctx, out, &outLength, in, length) > 0 && outLength == length;
  EVP_PKEY_CTX_free(ctx);
  ERR_pop_to_mark();
  return ok;
}

// A wrong half of a CRT computation, once published, factors the modulus: no result leaves unchecked.
bool rsaResultIsRight(const Operation& op) {
  if (!op.ok || op.outputLength != op.inputLength) return false;
  uint8_t recovered[Operation::kMaxBytes];
  return rsaPublic(op.key, op.output, op.outputLength, recovered) &&
         CRYPTO_memcmp(recovered, op.input, op.inputLength) == 0;
}

int signHash(SignContext* ctx, const uint8_t* hash, uint8_t* signature, size_t* length,
             size_t room) {
  // The operation outlives this stack frame when the handshake is cancelled while it waits.
  auto* op = new (std::nothrow) Operation;
  if (op == nullptr) return 0;
  if (EVP_PKEY_up_ref(ctx->software) != 1) {
    op->unref();
    return 0;
  }
  op->key = ctx->software;

  bool ok;
  if (ctx->rsa) {
    op->kind = OperationKind::kRsaPrivate;
    op->inputLength = static_cast<size_t>(EVP_PKEY_get_size(op->key));
    const size_t saltLength = ctx->saltLength == RSA_PSS_SALTLEN_DIGEST
                                  ? ctx->digest->length
                                  : static_cast<size_t>(ctx->saltLength);
    ok = op->inputLength <= sizeof(op->input) &&
         (ctx->pss ? encodePss(ctx->md, *ctx->digest, hash, saltLength,
                               static_cast<size_t>(EVP_PKEY_get_bits(op->key)), op->input,
                               op->inputLength)
                   : encodePkcs1(*ctx->digest, hash, op->input, op->inputLength));
  } else {
    op->kind = OperationKind::kEcdsaSign;
    op->inputLength = ctx->digest->length;
    memcpy(op->input, hash, op->inputLength);
    ok = true;
  }

  if (ok) {
    if (ctx->engine != nullptr) {
      ctx->engine->run(op);
    } else {
      computeInSoftware(op);
    }
    // A cancelled one belongs to a connection that is gone; the device may still write into it.
    ok = !op->cancelled;
  }
  if (ok && ctx->rsa && !rsaResultIsRight(*op)) {
    if (op->ok && ctx->engine != nullptr) ctx->engine->counters().verifyFailed++;
    computeInSoftware(op);
    ok = rsaResultIsRight(*op);
  } else if (ok && !op->ok) {
    computeInSoftware(op);
    ok = op->ok;
  }
  if (ok && op->outputLength <= room) {
    memcpy(signature, op->output, op->outputLength);
    *length = op->outputLength;
  } else {
    ok = false;
  }
  op->unref();
  return ok;
}

int maxSignature(const SignContext* ctx) { return EVP_PKEY_get_size(ctx->software); }

// libssl asks for the size first (signature NULL) and signs with the second call.
int signAtOnce(void* data, unsigned char* signature, size_t* length, size_t room,
               const unsigned char* tbs, size_t tbsLength) {
  auto* ctx = static_cast<SignContext*>(data);
  if (ctx == nullptr || ctx->digest == nullptr || ctx->stream != nullptr) return 0;
  const int size = maxSignature(ctx);
  if (size <= 0) return 0;
  if (signature == nullptr) {
    *length = static_cast<size_t>(size);
    return 1;
  }
  if (room < static_cast<size_t>(size)) return 0;
  uint8_t hash[kMaxHash];
  if (EVP_Digest(tbs, tbsLength, hash, nullptr, ctx->md, nullptr) != 1) return 0;
  return signHash(ctx, hash, signature, length, room);
}

int signUpdate(void* data, const unsigned char* bytes, size_t length) {
  auto* ctx = static_cast<SignContext*>(data);
  if (ctx == nullptr || ctx->digest == nullptr) return 0;
  if (ctx->stream == nullptr) {
    ctx->stream = EVP_MD_CTX_new();
    if (ctx->stream == nullptr || EVP_DigestInit_ex2(ctx->stream, ctx->md, nullptr) != 1) return 0;
  }
  return EVP_DigestUpdate(ctx->stream, bytes, length);
}

int signFinal(void* data, unsigned char* signature, size_t* length, size_t room) {
  auto* ctx = static_cast<SignContext*>(data);
  if (ctx == nullptr || ctx->digest == nullptr) return 0;
  const int size = maxSignature(ctx);
  if (size <= 0) return 0;
  if (signature == nullptr) {
    *length = static_cast<size_t>(size);
    return 1;
  }
  if (room < static_cast<size_t>(size)) return 0;
  if (signUpdate(ctx, nullptr, 0) != 1) return 0;  // nothing was ever added: the empty message
  uint8_t hash[kMaxHash];
  const int hashed = EVP_DigestFinal_ex(ctx->stream, hash, nullptr);
  EVP_MD_CTX_free(ctx->stream);
  ctx->stream = nullptr;
  return hashed == 1 && signHash(ctx, hash, signature, length, room);
}

// ------------------------------------------------------------------------------------------------
// Tables. A function without its partner makes the whole algorithm vanish ("unsupported").

using Function = void (*)();
#define TLSFARM_ENTRY(id, function) \
  { id, reinterpret_cast<Function>(function) }

const OSSL_DISPATCH kRsaKeymgmt[] = {
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_NEW, rsaKeyNew),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_FREE, keyFree),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_HAS, keyHas),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_MATCH, keyMatch),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, keyImport),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, rsaTypes),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_EXPORT, keyExport),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, rsaTypes),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_GET_PARAMS, keyGetParams),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, rsaGettable),
    OSSL_DISPATCH_END};
const OSSL_DISPATCH kEcKeymgmt[] = {
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_NEW, ecKeyNew),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_FREE, keyFree),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_HAS, keyHas),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_MATCH, keyMatch),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, keyImport),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, ecTypes),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_EXPORT, keyExport),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, ecTypes),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_GET_PARAMS, keyGetParams),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, ecGettable),
    TLSFARM_ENTRY(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, ecOperationName),
    OSSL_DISPATCH_END};
const OSSL_DISPATCH kRsaSignature[] = {
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_NEWCTX, signNew),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_FREECTX, signFree),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signInit),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, signUpdate),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, signFinal),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signAtOnce),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signSetParams),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, rsaSettable),
    OSSL_DISPATCH_END};
const OSSL_DISPATCH kEcdsaSignature[] = {
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_NEWCTX, signNew),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_FREECTX, signFree),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signInit),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, signUpdate),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, signFinal),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signAtOnce),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signSetParams),
    TLSFARM_ENTRY(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, ecSettable),
    OSSL_DISPATCH_END};

#undef TLSFARM_ENTRY

// libssl looks certificates' keys up by these names (EVP_PKEY_is_a with the OID's short name).
constexpr char kRsaNames[] = "RSA:rsaEncryption:1.2.840.113549.1.1.1";
constexpr char kEcNames[] = "EC:id-ecPublicKey:1.2.840.10045.2.1";
constexpr char kProperties[] = "provider=tlsfarm";

const OSSL_ALGORITHM kKeymgmts[] = {{kRsaNames, kProperties, kRsaKeymgmt, nullptr},
                                    {kEcNames, kProperties, kEcKeymgmt, nullptr},
                                    {nullptr, nullptr, nullptr, nullptr}};
const OSSL_ALGORITHM kSignatures[] = {{kRsaNames, kProperties, kRsaSignature, nullptr},
                                      {"ECDSA", kProperties, kEcdsaSignature, nullptr},
                                      {nullptr, nullptr, nullptr, nullptr}};

const OSSL_ALGORITHM* query(void*, int operation, int* noCache) {
  *noCache = 0;
  switch (operation) {
    case OSSL_OP_KEYMGMT:
      return kKeymgmts;
    case OSSL_OP_SIGNATURE:
      return kSignatures;
    default:
      return nullptr;
  }
}

const OSSL_DISPATCH kProvider[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, reinterpret_cast<Function>(query)}, OSSL_DISPATCH_END};

int initialise(const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** out,
               void** context) {
  static char unused;  // libcrypto wants a context that is not null
  *out = kProvider;
  *context = &unused;
  return 1;
}

OSSL_LIB_CTX* createLibrary() {
  OSSL_LIB_CTX* lib = OSSL_LIB_CTX_new();
  if (lib == nullptr) return nullptr;
  if (OSSL_PROVIDER_load(lib, "default") != nullptr) {
    // A fetch without properties takes whoever registered first. That must be the default provider:
    // ours signs and nothing else, and clients' certificates have to be verified too.
    EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(lib, "RSA", nullptr));
    EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(lib, "ECDSA", nullptr));
    EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(lib, "RSA", nullptr));
    EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(lib, "EC", nullptr));
    if (OSSL_PROVIDER_add_builtin(lib, "tlsfarm", initialise) == 1 &&
        OSSL_PROVIDER_load(lib, "tlsfarm") != nullptr) {
      return lib;
    }
  }
  OSSL_LIB_CTX_free(lib);
  return nullptr;
}

}  // namespace

OSSL_LIB_CTX* providerLibrary() {
  static OSSL_LIB_CTX* const lib = createLibrary();
  return lib;
}

EVP_PKEY* makeDeviceKey(OSSL_LIB_CTX* lib, EVP_PKEY* software, OffloadEngine* engine) {
  const bool rsa = EVP_PKEY_is_a(software, "RSA") == 1;
  if (!rsa && EVP_PKEY_is_a(software, "EC") != 1) return nullptr;
  if (EVP_PKEY_get_size(software) > static_cast<int>(Operation::kMaxBytes)) return nullptr;

  KeyReference reference{software, engine};
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(kReferenceParam, &reference, sizeof(reference)),
      OSSL_PARAM_construct_end()};
  EVP_PKEY* key = nullptr;
  ERR_set_mark();
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_name(lib, rsa ? "RSA" : "EC", kProperties);
  if (ctx == nullptr || EVP_PKEY_fromdata_init(ctx) <= 0 ||
      EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) <= 0) {
    EVP_PKEY_free(key);
    key = nullptr;
  }
  EVP_PKEY_CTX_free(ctx);
  ERR_pop_to_mark();
  return key;
}

}  // namespace tlsfarm
