// Reads like docs/wire/routable-id.md:
//
//   id   header 1 = 0x10 | epoch │ C 16 │ T 15
//   C    AES_k1(block ⊕ AES_k2(header ‖ T))
//   block                      node id 4, big-endian │ zero 6 │ nonce 6
//   random (from the caller)   nonce 6 │ T 15
//
// k2's block binds T: altering any byte of an ID turns the zeros into noise, so one valid ID cannot
// be changed into another that verifies (2^-48).
#include "routable_id.h"

#include <string.h>

namespace tlsfarm {
namespace {

constexpr uint8_t kFormat = 0x10;
constexpr size_t kBlock = 16;
constexpr size_t kNodeId = 4;
constexpr size_t kZero = 6;
constexpr size_t kNonce = 6;
constexpr size_t kT = 15;
static_assert(kNodeId + kZero + kNonce == kBlock);
static_assert(1 + kBlock + kT == RoutableIdCodec::kIdLength);
static_assert(kNonce + kT == RoutableIdCodec::kRandomLength);

EVP_CIPHER_CTX* cipher(const uint8_t* key, int encrypt) {
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  if (context == nullptr) return nullptr;
  if (EVP_CipherInit_ex(context, EVP_aes_256_ecb(), nullptr, key, nullptr, encrypt) == 1) {
    EVP_CIPHER_CTX_set_padding(context, 0);
    return context;
  }
  EVP_CIPHER_CTX_free(context);
  return nullptr;
}

// ECB without padding holds nothing back: a block goes in, a block comes out.
bool oneBlock(EVP_CIPHER_CTX* context, const uint8_t* in, uint8_t* out) {
  int length = 0;
  return context != nullptr && EVP_CipherUpdate(context, out, &length, in, kBlock) == 1 &&
         length == static_cast<int>(kBlock);
}

// AES_k2(header ‖ T)
bool maskOf(EVP_CIPHER_CTX* context, uint8_t header, const uint8_t* t, uint8_t* mask) {
  uint8_t block[kBlock];
  block[0] = header;
  memcpy(block + 1, t, kT);
  return oneBlock(context, block, mask);
}

void xorInto(uint8_t* block, const uint8_t* mask) {
  for (size_t i = 0; i < kBlock; i++) block[i] ^= mask[i];
}

}  // namespace

RoutableIdCodec::~RoutableIdCodec() {
  EVP_CIPHER_CTX_free(encrypt1_);
  EVP_CIPHER_CTX_free(decrypt1_);
  EVP_CIPHER_CTX_free(encrypt2_);
}

bool RoutableIdCodec::init(uint8_t epoch, uint32_t nodeId, const uint8_t* k1, const uint8_t* k2) {
  EVP_CIPHER_CTX_free(encrypt1_);
  EVP_CIPHER_CTX_free(decrypt1_);
  EVP_CIPHER_CTX_free(encrypt2_);
  header_ = kFormat | (epoch & 0x0f);
  nodeId_ = nodeId;
  encrypt1_ = cipher(k1, 1);
  decrypt1_ = cipher(k1, 0);
  encrypt2_ = cipher(k2, 1);
  return encrypt1_ != nullptr && decrypt1_ != nullptr && encrypt2_ != nullptr;
}

bool RoutableIdCodec::seal(const uint8_t* random, uint8_t* id) {
  const uint8_t* nonce = random;
  const uint8_t* t = random + kNonce;
  uint8_t block[kBlock] = {};
  for (size_t i = 0; i < kNodeId; i++) block[i] = static_cast<uint8_t>(nodeId_ >> (24 - 8 * i));
  memcpy(block + kNodeId + kZero, nonce, kNonce);
  uint8_t mask[kBlock];
  if (!maskOf(encrypt2_, header_, t, mask)) return false;
  xorInto(block, mask);
  if (!oneBlock(encrypt1_, block, id + 1)) return false;
  id[0] = header_;
  memcpy(id + 1 + kBlock, t, kT);
  return true;
}

bool RoutableIdCodec::open(const uint8_t* id, uint32_t* nodeId) {
  if (id[0] != header_) return false;  // not a secret: it travels in the clear
  uint8_t block[kBlock], mask[kBlock];
  if (!oneBlock(decrypt1_, id + 1, block)) return false;
  if (!maskOf(encrypt2_, header_, id + 1 + kBlock, mask)) return false;
  xorInto(block, mask);
  volatile uint8_t noise = 0;  // all the check bits, however early they differ
  for (size_t i = 0; i < kZero; i++) noise = noise | block[kNodeId + i];
  if (noise != 0) return false;
  uint32_t value = 0;
  for (size_t i = 0; i < kNodeId; i++) value = value << 8 | block[i];
  *nodeId = value;
  return true;
}

}  // namespace tlsfarm
