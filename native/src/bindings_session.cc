#include "bindings_session.h"

#include <string.h>
#include <uv.h>

#include <algorithm>
#include <memory>
#include <string>

#include "routable_id.h"
#include "session_table.h"

namespace tlsfarm {
namespace {

constexpr size_t kIdBytes = 32;

Napi::Value fail(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  error.ThrowAsJavaScriptException();
  return env.Undefined();
}

// The caller's TypeScript has validated for people; these catch a caller that did not.
Napi::Value misuse(Napi::Env env, const char* what) {
  Napi::TypeError::New(env, what).ThrowAsJavaScriptException();
  return env.Undefined();
}

bool isUint8Array(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
}

// Null unless `value` is a Uint8Array of exactly `length` bytes. Valid until control returns to JS.
const uint8_t* bytes(const Napi::Value& value, size_t length) {
  if (!isUint8Array(value)) return nullptr;
  const auto array = value.As<Napi::Uint8Array>();
  return array.ByteLength() == length ? array.Data() : nullptr;
}

bool isSafeInteger(const Napi::Value& value) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  return number >= -9007199254740991.0 && number <= 9007199254740991.0 &&
         number == static_cast<double>(static_cast<int64_t>(number));
}

int64_t integer(const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }

bool isUint32(const Napi::Value& value) {
  return isSafeInteger(value) && integer(value) >= 0 && integer(value) <= UINT32_MAX;
}

Napi::Value number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

const char* missName(Lookup result) {
  switch (result) {
    case Lookup::kHit:
      break;
    case Lookup::kNotFound:
      return "not-found";
    case Lookup::kExpired:
      return "expired";
    case Lookup::kPolicyMismatch:
      return "policy-mismatch";
    case Lookup::kContended:
      return "contended";
    case Lookup::kTorn:
      return "torn";
  }
  return "";
}

// One record per process instead of 8 KiB of stack per call; wiped after use.
SessionRecord scratch;

void wipeScratch() {
  explicit_bzero(scratch.der, std::min(scratch.derLength, SessionRecord::kMaxDer));
  scratch.derLength = 0;
}

using SharedTable = std::shared_ptr<SessionTable>;

// put(id, fingerprint, record, nowS, replaces | null): boolean
Napi::Value put(const Napi::CallbackInfo& info, SessionTable* table) {
  const Napi::Env env = info.Env();
  const uint8_t* id = bytes(info[0], kIdBytes);
  const uint8_t* fingerprint = bytes(info[1], kIdBytes);
  const bool renewal = !info[4].IsNull() && !info[4].IsUndefined();
  const uint8_t* replaces = renewal ? bytes(info[4], kIdBytes) : nullptr;
  if (id == nullptr || fingerprint == nullptr || (renewal && replaces == nullptr))
    return misuse(env, "ids and fingerprints are Uint8Arrays of 32 bytes");
  if (!info[2].IsObject()) return misuse(env, "a record is an object");
  const auto record = info[2].As<Napi::Object>();
  const Napi::Value der = record.Get("der");
  const Napi::Value expiresAtS = record.Get("expiresAtS");
  const Napi::Value fullHandshakeAtS = record.Get("fullHandshakeAtS");
  const Napi::Value uses = record.Get("uses");
  const Napi::Value originNode = record.Get("originNode");
  if (env.IsExceptionPending()) return env.Undefined();
  if (!isSafeInteger(info[3]) || !isSafeInteger(expiresAtS) || !isSafeInteger(fullHandshakeAtS) ||
      !isUint32(uses) || !isUint32(originNode))
    return misuse(env, "times are whole seconds, uses and originNode 32-bit numbers");
  if (!isUint8Array(der)) return misuse(env, "der is a Uint8Array");
  const size_t length = der.As<Napi::Uint8Array>().ByteLength();
  const uint8_t* source = der.As<Napi::Uint8Array>().Data();  // null when empty

  // Too large a record keeps its length, so that the table can refuse and count it.
  if (length > 0) memcpy(scratch.der, source, std::min(length, SessionRecord::kMaxDer));
  scratch.derLength = length;
  scratch.expiresAtS = integer(expiresAtS);
  scratch.fullHandshakeAtS = integer(fullHandshakeAtS);
  scratch.uses = static_cast<uint32_t>(integer(uses));
  scratch.originNode = static_cast<uint32_t>(integer(originNode));
  const bool stored = table->put(id, fingerprint, scratch, integer(info[3]), replaces);
  wipeScratch();
  return Napi::Boolean::New(env, stored);
}

// lookup(id, fingerprint, nowS): SessionRecord | string (why not)
Napi::Value lookup(const Napi::CallbackInfo& info, SessionTable* table) {
  const Napi::Env env = info.Env();
  const uint8_t* id = bytes(info[0], kIdBytes);
  const uint8_t* fingerprint = bytes(info[1], kIdBytes);
  if (id == nullptr || fingerprint == nullptr)
    return misuse(env, "ids and fingerprints are Uint8Arrays of 32 bytes");
  if (!isSafeInteger(info[2])) return misuse(env, "nowS is whole seconds");
  const Lookup result = table->get(id, fingerprint, integer(info[2]), &scratch);
  if (result != Lookup::kHit) return Napi::String::New(env, missName(result));
  auto der = Napi::Uint8Array::New(env, scratch.derLength);
  memcpy(der.Data(), scratch.der, scratch.derLength);
  auto record = Napi::Object::New(env);
  record.Set("der", der);
  record.Set("expiresAtS", Napi::Number::New(env, static_cast<double>(scratch.expiresAtS)));
  record.Set("fullHandshakeAtS",
             Napi::Number::New(env, static_cast<double>(scratch.fullHandshakeAtS)));
  record.Set("uses", number(env, scratch.uses));
  record.Set("originNode", number(env, scratch.originNode));
  wipeScratch();
  return record;
}

// delete(id): boolean
Napi::Value remove(const Napi::CallbackInfo& info, SessionTable* table) {
  const uint8_t* id = bytes(info[0], kIdBytes);
  if (id == nullptr) return misuse(info.Env(), "an id is a Uint8Array of 32 bytes");
  return Napi::Boolean::New(info.Env(), table->remove(id));
}

// stats(): SessionTableStats
Napi::Value stats(const Napi::CallbackInfo& info, SessionTable* table) {
  const Napi::Env env = info.Env();
  const SessionTableCounters counters = table->counters();
  auto all = Napi::Object::New(env);
  all.Set("slots", number(env, counters.slots));
  all.Set("used", number(env, counters.used));
  all.Set("protected", number(env, counters.protectedSlots));
  all.Set("hits", number(env, counters.hits));
  all.Set("misses", number(env, counters.misses));
  all.Set("expired", number(env, counters.expired));
  all.Set("mismatched", number(env, counters.mismatched));
  all.Set("inserted", number(env, counters.inserted));
  all.Set("evicted", number(env, counters.evicted));
  all.Set("repaired", number(env, counters.repaired));
  all.Set("contended", number(env, counters.contended));
  all.Set("torn", number(env, counters.torn));
  all.Set("tooLarge", number(env, counters.tooLarge));
  return all;
}

// createSessionTable(slots): fd
Napi::Value createSessionTable(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!isUint32(info[0])) return misuse(env, "slots is a 32-bit number");
  const int fd = SessionTable::create(static_cast<uint32_t>(integer(info[0])));
  if (fd < 0) {
    return fail(env, uv_err_name(fd),
                std::string("cannot create the session table: ") + uv_strerror(fd));
  }
  return Napi::Number::New(env, fd);
}

// openSessionTable(fd): NativeSessionTable. Each method keeps the mapping alive.
Napi::Value openSessionTable(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!isUint32(info[0])) return misuse(env, "fd is a number");
  std::string reason;
  const SharedTable table = SessionTable::open(static_cast<int>(integer(info[0])), &reason);
  if (table == nullptr) {
    return fail(env, "SESSION_TABLE_UNUSABLE",
                "file descriptor " + std::to_string(integer(info[0])) + ": " + reason);
  }
  auto object = Napi::Object::New(env);
  auto method = [&](const char* name,
                    Napi::Value (*body)(const Napi::CallbackInfo&, SessionTable*)) {
    object.Set(
        name,
        Napi::Function::New(
            env, [table, body](const Napi::CallbackInfo& call) { return body(call, table.get()); },
            name));
  };
  method("put", put);
  method("get", [](const Napi::CallbackInfo& call, SessionTable* from) -> Napi::Value {
    const Napi::Value found = lookup(call, from);
    return found.IsString() ? call.Env().Null() : found;
  });
  method("lookup", lookup);
  method("delete", remove);
  method("stats", stats);
  return object;
}

// The first argument of both codec functions; false when it is not a RoutableIdKey.
bool initCodec(const Napi::Value& value, RoutableIdCodec* codec) {
  if (!value.IsObject()) return false;
  const auto key = value.As<Napi::Object>();
  const Napi::Value epoch = key.Get("epoch");
  const Napi::Value nodeId = key.Get("nodeId");
  const uint8_t* k1 = bytes(key.Get("k1"), RoutableIdCodec::kKeyLength);
  const uint8_t* k2 = bytes(key.Get("k2"), RoutableIdCodec::kKeyLength);
  if (value.Env().IsExceptionPending()) return false;
  if (!isUint32(epoch) || integer(epoch) > 15 || !isUint32(nodeId)) return false;
  if (k1 == nullptr || k2 == nullptr) return false;
  return codec->init(static_cast<uint8_t>(integer(epoch)), static_cast<uint32_t>(integer(nodeId)),
                     k1, k2);
}

constexpr char kKeyMisuse[] = "a key has epoch 0..15, nodeId 0..2^32-1, k1 and k2 of 32 bytes each";

// sealRoutableId(key, random): Uint8Array
Napi::Value sealRoutableId(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  RoutableIdCodec codec;
  if (!initCodec(info[0], &codec)) return misuse(env, kKeyMisuse);
  const uint8_t* random = bytes(info[1], RoutableIdCodec::kRandomLength);
  if (random == nullptr) return misuse(env, "random is a Uint8Array of 21 bytes");
  auto id = Napi::Uint8Array::New(env, RoutableIdCodec::kIdLength);
  if (!codec.seal(random, id.Data())) return fail(env, "ENOMEM", "libcrypto refused to encrypt");
  return id;
}

// openRoutableId(key, id): node id | null
Napi::Value openRoutableId(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  RoutableIdCodec codec;
  if (!initCodec(info[0], &codec)) return misuse(env, kKeyMisuse);
  // Ids of another length come from the network: foreign, not misuse.
  const uint8_t* id = bytes(info[1], RoutableIdCodec::kIdLength);
  uint32_t nodeId = 0;
  if (id == nullptr || !codec.open(id, &nodeId)) return env.Null();
  return number(env, nodeId);
}

}  // namespace

void registerSessionBindings(Napi::Env env, Napi::Object exports) {
  exports.Set("createSessionTable", Napi::Function::New(env, createSessionTable));
  exports.Set("openSessionTable", Napi::Function::New(env, openSessionTable));
  exports.Set("sealRoutableId", Napi::Function::New(env, sealRoutableId));
  exports.Set("openRoutableId", Napi::Function::New(env, openRoutableId));
}

}  // namespace tlsfarm
