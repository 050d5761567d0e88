#include "endpoint_bio.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>

namespace tlsfarm {

namespace {

// A post-quantum hello is 1.7 KB; a client's second flight with a certificate rarely more.
constexpr size_t kAheadBytes = 4096;

Endpoint* endpointOf(BIO* bio) { return static_cast<Endpoint*>(BIO_get_data(bio)); }

size_t takeAhead(Endpoint* endpoint, char* out, size_t size) {
  const size_t n = std::min<size_t>(size, endpoint->aheadEnd - endpoint->aheadStart);
  memcpy(out, endpoint->ahead + endpoint->aheadStart, n);
  endpoint->aheadStart += static_cast<uint32_t>(n);
  return n;
}

int bioRead(BIO* bio, char* out, size_t size, size_t* got) {
  BIO_clear_retry_flags(bio);
  *got = 0;
  Endpoint* endpoint = endpointOf(bio);
  if (endpoint->fd < 0) return 0;
  if (endpoint->aheadStart < endpoint->aheadEnd) {
    *got = takeAhead(endpoint, out, size);
    return 1;
  }
  if (!endpoint->readable) {
    BIO_set_retry_read(bio);
    return 0;
  }
  const bool ahead = endpoint->ahead != nullptr && size < kAheadBytes;
  const size_t room = ahead ? kAheadBytes : size;
  for (;;) {
    const ssize_t n = recv(endpoint->fd, ahead ? endpoint->ahead : reinterpret_cast<uint8_t*>(out),
                           room, 0);
    if (n > 0) {
      if (static_cast<size_t>(n) < room && !endpoint->hungUp) endpoint->readable = false;
      *got = static_cast<size_t>(n);
      if (ahead) {
        endpoint->aheadStart = 0;
        endpoint->aheadEnd = static_cast<uint32_t>(n);
        *got = takeAhead(endpoint, out, size);
      }
      return 1;
    }
    if (n == 0) {
      // An error that a write has already swallowed reads as an end: it was a reset all the same.
      if (!endpoint->failed) {
        endpoint->eof = true;
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
      }
      return 0;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      endpoint->readable = false;
      BIO_set_retry_read(bio);
      return 0;
    }
    endpoint->failed = true;
    return 0;
  }
}

int bioWrite(BIO* bio, const char* bytes, size_t size, size_t* sent) {
  BIO_clear_retry_flags(bio);
  *sent = 0;
  Endpoint* endpoint = endpointOf(bio);
  if (endpoint->fd < 0) return 0;
  if (!endpoint->writable) {
    BIO_set_retry_write(bio);
    return 0;
  }
  for (;;) {
    const ssize_t n = send(endpoint->fd, bytes, size, MSG_NOSIGNAL);
    if (n >= 0) {
      if (static_cast<size_t>(n) < size) endpoint->writable = false;
      *sent = static_cast<size_t>(n);
      return 1;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      endpoint->writable = false;
      BIO_set_retry_write(bio);
      return 0;
    }
    endpoint->failed = true;
    return 0;
  }
}

long bioControl(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
      return 1;
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default:
      return 0;
  }
}

int bioCreate(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

int bioDestroy(BIO*) { return 1; }

// Never freed: one per process, referenced by every BIO.
BIO_METHOD* method() {
  static BIO_METHOD* const made = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tlsfarm endpoint");
    BIO_meth_set_read_ex(m, bioRead);
    BIO_meth_set_write_ex(m, bioWrite);
    BIO_meth_set_ctrl(m, bioControl);
    BIO_meth_set_create(m, bioCreate);
    BIO_meth_set_destroy(m, bioDestroy);
    return m;
  }();
  return made;
}

}  // namespace

BIO* newEndpointBio(Endpoint* endpoint) {
  BIO* bio = BIO_new(method());
  if (bio != nullptr) BIO_set_data(bio, endpoint);
  return bio;
}

void beginReadAhead(Endpoint* endpoint) {
  endpoint->ahead = static_cast<uint8_t*>(OPENSSL_malloc(kAheadBytes));
  endpoint->aheadStart = endpoint->aheadEnd = 0;
}

void endReadAhead(Endpoint* endpoint) {
  if (endpoint->ahead == nullptr) return;
  if (endpoint->open() && endpoint->aheadStart < endpoint->aheadEnd) return;
  OPENSSL_free(endpoint->ahead);
  endpoint->ahead = nullptr;
  endpoint->aheadStart = endpoint->aheadEnd = 0;
}

}  // namespace tlsfarm
