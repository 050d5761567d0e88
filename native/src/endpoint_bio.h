// A BIO over an Endpoint. Why not OpenSSL's socket BIO: it cannot know that the socket is drained, so
// every handshake step ends in a read() that says EAGAIN; and it holds a descriptor number, which a
// paused job would use after it was closed and given to a stranger. This one asks the Endpoint: no
// system call when the flags say "nothing there", an error when the descriptor is closed.
#ifndef TLSFARM_ENDPOINT_BIO_H_
#define TLSFARM_ENDPOINT_BIO_H_

#include <openssl/bio.h>

#include "endpoint.h"

namespace tlsfarm {

// The endpoint must outlive the BIO. Null when out of memory.
BIO* newEndpointBio(Endpoint* endpoint);

// OpenSSL's record layer reads plaintext records in two steps, header and body, read_ahead or not. A
// small buffer for the handshake makes one system call of a whole flight; `endReadAhead` gives it back
// as soon as it is empty (call it when the handshake is done and when the connection closes).
void beginReadAhead(Endpoint* endpoint);
void endReadAhead(Endpoint* endpoint);

}  // namespace tlsfarm

#endif
