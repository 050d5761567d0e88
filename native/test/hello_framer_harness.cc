// The hello framing under sanitizers: arbitrary and almost-right bytes, cut anywhere, in a buffer that
// ends exactly where the bytes do, so that one byte read too far is caught.
// sources: hello_framer.cc
#include "../src/hello_framer.h"

#include <vector>

#include "harness.h"

using harness::Random;
using tlsfarm::HelloFramer;

namespace {

// A hello-shaped message in records of random size, sometimes with one byte wrong.
std::vector<uint8_t> makeHello(Random& random) {
  const size_t body = random.below(4) == 0 ? random.below(70'000) : random.below(600);
  std::vector<uint8_t> message = {1, static_cast<uint8_t>(body >> 16),
                                  static_cast<uint8_t>(body >> 8), static_cast<uint8_t>(body)};
  message.resize(4 + body);
  std::vector<uint8_t> raw;
  for (size_t at = 0; at < message.size();) {
    const size_t most = 1 + random.below(random.below(2) == 0 ? 16384 : 40);
    const size_t length = std::min(most, message.size() - at);
    const uint8_t header[] = {22, 3, 1, static_cast<uint8_t>(length >> 8),
                              static_cast<uint8_t>(length)};
    raw.insert(raw.end(), header, header + 5);
    raw.insert(raw.end(), message.begin() + static_cast<long>(at),
               message.begin() + static_cast<long>(at + length));
    at += length;
  }
  if (random.below(3) == 0 && !raw.empty()) {
    raw[random.below(std::min<size_t>(raw.size(), 12))] = static_cast<uint8_t>(random.next());
  }
  return raw;
}

HelloFramer::State feedAll(const std::vector<uint8_t>& raw, Random* cuts, size_t* end) {
  HelloFramer framer;
  HelloFramer::State state = HelloFramer::State::kIncomplete;
  const size_t most = std::min(raw.size(), HelloFramer::kMaxBytes);
  size_t length = 0;
  while (length < most && state == HelloFramer::State::kIncomplete) {
    length += cuts == nullptr ? most : 1 + cuts->below(cuts->below(4) == 0 ? 3 : 3000);
    length = std::min(length, most);
    // A copy that ends where the bytes end.
    const std::vector<uint8_t> exact(raw.begin(), raw.begin() + static_cast<long>(length));
    state = framer.feed(exact.data(), exact.size());
  }
  *end = framer.helloEnd();
  return state;
}

}  // namespace

int main(int argc, char** argv) {
  harness::begin(argc, argv);
  Random random(0);
  size_t seen[4] = {};
  for (int i = 0; i < 4'000; i++) {
    std::vector<uint8_t> raw = makeHello(random);
    if (random.below(5) == 0) raw.resize(random.below(raw.size() + 1));
    if (random.below(10) == 0) random.fill(raw.data(), raw.size());
    size_t endWhole = 0;
    size_t endCut = 0;
    const HelloFramer::State whole = feedAll(raw, nullptr, &endWhole);
    const HelloFramer::State cut = feedAll(raw, &random, &endCut);
    CHECK(whole == cut);
    if (whole == HelloFramer::State::kWhole) {
      CHECK(endWhole == endCut && endWhole <= raw.size() && endWhole <= HelloFramer::kMaxBytes);
    }
    seen[static_cast<size_t>(whole)]++;
  }
  for (const size_t count : seen) CHECK(count > 0);
  puts("  passed");
}
