// SipHash-2-4 (Aumasson, Bernstein 2012), written out so that the table needs no libcrypto: its
// harness and any tool that inspects a table link with nothing but libc.
#ifndef TLSFARM_SIPHASH_H_
#define TLSFARM_SIPHASH_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tlsfarm {

struct SipKey {
  uint64_t k0, k1;
};

inline uint64_t sipHash(const SipKey& key, const void* data, size_t length) {
  static_assert(std::endian::native == std::endian::little, "words are read as they lie");
  uint64_t v0 = key.k0 ^ 0x736f6d6570736575, v1 = key.k1 ^ 0x646f72616e646f6d;
  uint64_t v2 = key.k0 ^ 0x6c7967656e657261, v3 = key.k1 ^ 0x7465646279746573;
  auto round = [&] {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
  };
  const auto* p = static_cast<const uint8_t*>(data);
  uint64_t word;
  for (size_t left = length; left >= 8; left -= 8, p += 8) {
    memcpy(&word, p, 8);
    v3 ^= word, round(), round(), v0 ^= word;
  }
  word = 0;
  if (length % 8 != 0) memcpy(&word, p, length % 8);
  word |= uint64_t{length} << 56;
  v3 ^= word, round(), round(), v0 ^= word;
  v2 ^= 0xff, round(), round(), round(), round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace tlsfarm

#endif
