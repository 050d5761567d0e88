#include "session_callbacks.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>
#include <time.h>

#include <algorithm>

namespace tlsfarm {

using Name = TerminatorCounter;

namespace {

constexpr int kIdBytes = 32;  // shorter ones silently fail to resume in TLS 1.3

int contextIndex() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int64_t nowSeconds() { return static_cast<int64_t>(time(nullptr)); }

}  // namespace

SessionCallbacks::SessionCallbacks(SessionTable* table, RoutableIdCodec* codec, uint32_t originNode,
                                   const TlsConfig& config, OSSL_LIB_CTX* lib,
                                   Counters<TerminatorCounter>* counters)
    : table_(table),
      codec_(codec),
      originNode_(originNode),
      maxAgeS_(config.sessionMaxAgeS),
      lib_(lib),
      counters_(counters) {
  memcpy(fingerprint_, config.fingerprint, sizeof fingerprint_);
}

void SessionCallbacks::install(SSL_CTX* ctx) {
  SSL_CTX_set_ex_data(ctx, contextIndex(), this);
  SSL_CTX_set_generate_session_id(ctx, onGenerateId);
  SSL_CTX_sess_set_get_cb(ctx, onGet);
  SSL_CTX_sess_set_new_cb(ctx, onNew);
  // No remove callback, on purpose: OpenSSL fires it when a connection ends abruptly, and an abrupt
  // close must not delete a session that the whole node can resume.
}

SessionCallbacks* SessionCallbacks::of(const SSL* ssl) {
  return static_cast<SessionCallbacks*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), contextIndex()));
}

int SessionCallbacks::onGenerateId(SSL* ssl, unsigned char* id, unsigned int* length) {
  *length = kIdBytes;
  return of(ssl)->generate(id) ? 1 : 0;
}

bool SessionCallbacks::generate(unsigned char* id) {
  if (codec_ == nullptr) return RAND_bytes_ex(lib_, id, kIdBytes, 0) == 1;
  uint8_t random[RoutableIdCodec::kRandomLength];
  return RAND_bytes_ex(lib_, random, sizeof random, 0) == 1 && codec_->seal(random, id);
}

SSL_SESSION* SessionCallbacks::onGet(SSL* ssl, const unsigned char* id, int length, int* copy) {
  *copy = 0;  // every answer is a fresh object: a shared one can be spoilt by another's alert
  return of(ssl)->get(static_cast<HandshakeMemo*>(SSL_get_app_data(ssl)), id, length);
}

SSL_SESSION* SessionCallbacks::get(HandshakeMemo* memo, const unsigned char* id, int length) {
  if (length != kIdBytes) {
    counters_->add(Name::sessionForeignId);
    return nullptr;
  }
  const bool again = memo->found && memcmp(memo->id, id, kIdBytes) == 0;
  if (!again) {
    // The high nibble is the ID's format: junk (compatibility mode, other servers' IDs) is told
    // apart before any store is asked.
    if (codec_ != nullptr && (id[0] & 0xf0) != 0x10) {
      counters_->add(Name::sessionForeignId);
      return nullptr;
    }
    if (memo->lookups >= HandshakeMemo::kMaxLookups) {
      counters_->add(Name::sessionLookupsShed);
      return nullptr;
    }
    memo->lookups += 1;
    memo->offered = true;
    counters_->add(Name::sessionLookups);
  } else {
    counters_->add(Name::sessionMemo);
  }
  const int64_t now = nowSeconds();
  switch (table_->get(id, fingerprint_, now, &scratch_)) {
    case Lookup::kHit:
      break;
    case Lookup::kNotFound:
      counters_->add(Name::sessionNotFound);
      return nullptr;
    case Lookup::kExpired:
      counters_->add(Name::sessionExpired);
      return nullptr;
    case Lookup::kPolicyMismatch:
      counters_->add(Name::sessionMismatch);
      return nullptr;
    case Lookup::kContended:
      counters_->add(Name::sessionContended);
      return nullptr;
    case Lookup::kTorn:
      counters_->add(Name::sessionTorn);
      return nullptr;
  }
  // A chain of TLS 1.3 renewals dies at its first handshake's deadline, whatever each entry says.
  const int64_t deadline =
      std::min(scratch_.expiresAtS, scratch_.fullHandshakeAtS + maxAgeS_);
  if (deadline <= now) {
    OPENSSL_cleanse(scratch_.der, scratch_.derLength);
    counters_->add(Name::sessionExpired);
    return nullptr;
  }
  const unsigned char* der = scratch_.der;
  SSL_SESSION* session =
      d2i_SSL_SESSION_ex(nullptr, &der, static_cast<long>(scratch_.derLength), lib_, nullptr);
  OPENSSL_cleanse(scratch_.der, scratch_.derLength);
  if (session == nullptr) {
    ERR_clear_error();
    counters_->add(Name::sessionUndecodable);
    return nullptr;
  }
  // What is left of its life, so that the renewal inherits it and the client's hint shrinks with it.
  SSL_SESSION_set_time_ex(session, now);
  SSL_SESSION_set_timeout(session, static_cast<long>(deadline - now));
  if (!again) counters_->add(Name::sessionHits);
  memo->found = true;
  memcpy(memo->id, id, kIdBytes);
  memo->fullHandshakeAtS = scratch_.fullHandshakeAtS;
  memo->expiresAtS = deadline;
  memo->uses = scratch_.uses;
  return session;
}

int SessionCallbacks::onNew(SSL* ssl, SSL_SESSION* session) {
  of(ssl)->store(ssl, static_cast<HandshakeMemo*>(SSL_get_app_data(ssl)), session);
  return 0;  // we keep no reference: the table holds bytes, not objects
}

void SessionCallbacks::store(SSL* ssl, HandshakeMemo* memo, SSL_SESSION* session) {
  unsigned int length = 0;
  const unsigned char* id = SSL_SESSION_get_id(session, &length);
  if (length != kIdBytes) return;
  const int size = i2d_SSL_SESSION(session, nullptr);
  if (size <= 0 || static_cast<size_t>(size) > SessionRecord::kMaxDer) {
    counters_->add(Name::sessionTooLarge);
    return;
  }
  unsigned char* der = scratch_.der;
  scratch_.derLength = static_cast<size_t>(i2d_SSL_SESSION(session, &der));
  const int64_t now = nowSeconds();
  const bool renewal = memo->found && SSL_session_reused(ssl) == 1;
  scratch_.fullHandshakeAtS = renewal ? memo->fullHandshakeAtS : now;
  scratch_.expiresAtS = renewal ? memo->expiresAtS : now + maxAgeS_;
  scratch_.uses = renewal ? memo->uses + 1 : 0;
  scratch_.originNode = originNode_;
  const bool stored =
      table_->put(id, fingerprint_, scratch_, now, renewal ? memo->id : nullptr);
  OPENSSL_cleanse(scratch_.der, scratch_.derLength);
  counters_->add(stored ? Name::sessionStored : Name::sessionStoreFailed);
}

}  // namespace tlsfarm
