// The routable-ID codec under sanitizers: round trips, damage, a codec that was never or twice
// initialised.
// sources: routable_id.cc
// libraries: -l:libcrypto.so.3
#include "../src/routable_id.h"
#include "harness.h"

using harness::Random;
using tlsfarm::RoutableIdCodec;

int main(int argc, char** argv) {
  harness::begin(argc, argv);
  Random random(0);
  uint8_t id[RoutableIdCodec::kIdLength], input[RoutableIdCodec::kRandomLength];
  uint8_t k1[RoutableIdCodec::kKeyLength], k2[RoutableIdCodec::kKeyLength];
  uint32_t nodeId = 0;

  RoutableIdCodec never;
  random.fill(input, sizeof input);
  random.fill(id, sizeof id);
  id[0] = 0;
  CHECK(!never.seal(input, id) && !never.open(id, &nodeId));

  RoutableIdCodec codec;
  for (int key = 0; key < 100; key++) {
    random.fill(k1, sizeof k1);
    random.fill(k2, sizeof k2);
    const auto own = static_cast<uint32_t>(random.next());
    const auto epoch = static_cast<uint8_t>(random.below(16));
    CHECK(codec.init(epoch, own, k1, k2));
    for (int i = 0; i < 1'000; i++) {
      random.fill(input, sizeof input);
      CHECK(codec.seal(input, id) && id[0] == (0x10 | epoch));
      nodeId = ~own;
      CHECK(codec.open(id, &nodeId) && nodeId == own);
      id[random.below(sizeof id)] ^= static_cast<uint8_t>(1 << random.below(8));
      CHECK(!codec.open(id, &nodeId));
    }
  }
  puts("  passed");
  return 0;
}
