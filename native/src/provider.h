// The built-in OpenSSL provider "tlsfarm": private keys that live behind an OffloadEngine.
//
// libssl sees an ordinary EVP_PKEY. Its keymgmt knows only a reference: the software key (default
// provider) and the engine. Hashing and padding are done here, the raw private operation becomes an
// `Operation`, and an RSA result is checked with the public exponent before it leaves.
#ifndef TLSFARM_PROVIDER_H_
#define TLSFARM_PROVIDER_H_

#include <openssl/evp.h>

#include "offload_engine.h"

namespace tlsfarm {

// Properties that pin a fetch to the software implementations.
inline constexpr char kSoftwareProperties[] = "provider=default";

// Our OSSL_LIB_CTX with the providers "default" and "tlsfarm", apart from Node's own. One for the
// process, never freed: operations that a device still holds, SSLs on a zombie list and sessions may
// outlive the TLS context that they came from, and what they point at must not. Null if the providers
// do not load. (Never EVP_set_default_properties: that would change Node's crypto too.)
OSSL_LIB_CTX* providerLibrary();

// A key whose private operations go to `engine` (null: computed inline). Takes its own reference on
// `software`, an RSA key up to 4096 bits or an EC key on a named curve; the engine must outlive the
// key. Null if the key is of another type. Only inside `lib`, which is providerLibrary().
EVP_PKEY* makeDeviceKey(OSSL_LIB_CTX* lib, EVP_PKEY* software, OffloadEngine* engine);

}  // namespace tlsfarm

#endif
