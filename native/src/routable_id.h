// Routable session IDs:
// header 1 ‖ C 16 ‖ T 15, C = AES_k1({node id 32, zero 48, nonce 48} ⊕ AES_k2(header ‖ T)).
// docs/wire/routable-id.md is the format; config/routable-id.ts is the same codec in TypeScript.
#ifndef TLSFARM_ROUTABLE_ID_H_
#define TLSFARM_ROUTABLE_ID_H_

#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>

namespace tlsfarm {

class RoutableIdCodec {
 public:
  static constexpr size_t kIdLength = 32;
  static constexpr size_t kRandomLength = 21;  // nonce 6 ‖ T 15
  static constexpr size_t kKeyLength = 32;     // AES-256, both keys

  RoutableIdCodec() = default;
  ~RoutableIdCodec();
  RoutableIdCodec(const RoutableIdCodec&) = delete;
  RoutableIdCodec& operator=(const RoutableIdCodec&) = delete;

  // False: libcrypto refused (out of memory).
  bool init(uint8_t epoch, uint32_t nodeId, const uint8_t* k1, const uint8_t* k2);
  bool seal(const uint8_t* random, uint8_t* id);
  // The node id of an ID sealed under these keys; false when header or check bits do not verify.
  bool open(const uint8_t* id, uint32_t* nodeId);

 private:
  uint8_t header_ = 0;
  uint32_t nodeId_ = 0;
  EVP_CIPHER_CTX* encrypt1_ = nullptr;
  EVP_CIPHER_CTX* decrypt1_ = nullptr;
  EVP_CIPHER_CTX* encrypt2_ = nullptr;
};

}  // namespace tlsfarm

#endif
