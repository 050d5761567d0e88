// The relay's pump under sanitizers: real socket pairs, random sizes, slow readers, copy and splice;
// every byte arrives once and in order, a FIN is passed on last, a reset is told apart.
// sources: pump.cc pipe_pool.cc sockets.cc
#include "../src/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "harness.h"

using harness::Random;
using namespace tlsfarm;

namespace {

// A connected TCP pair on loopback: splice and resets want real TCP.
void connectPair(int* one, int* other) {
  SocketAddress address;
  CHECK(address.setInternet("127.0.0.1", 0));
  uint16_t port = 0;
  const int listener = openListener(address, 1, false, &port);
  CHECK(listener >= 0 && address.setInternet("127.0.0.1", port));
  *one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(*one, address.raw(), address.length) == 0);
  *other = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  CHECK(*other >= 0);
  fcntl(*one, F_SETFL, O_NONBLOCK);
  close(listener);
}

uint8_t pattern(uint64_t at) { return static_cast<uint8_t>(at * 131 + (at >> 8)); }

struct NoOwner final : EndpointOwner {
  void onEndpoint(Endpoint*) override {}
};

void relayOnce(Random& random, size_t maxPipes, bool reset) {
  int sender, from, to, receiver;
  connectPair(&sender, &from);
  connectPair(&to, &receiver);
  fcntl(from, F_SETFL, O_NONBLOCK);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  NoOwner owner;
  Endpoint source, sink;
  source.attach(from, &owner);
  sink.attach(to, &owner);
  for (Endpoint* each : {&source, &sink}) {
    epoll_event event{};
    event.events = Endpoint::kEvents;
    event.data.ptr = each;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, each->fd, &event) == 0);
  }
  std::vector<uint8_t> scratch(Reactor::kScratchBytes);
  ChunkPool chunks(4);
  PipePool pipes(maxPipes);
  PumpPools pools{scratch.data(), &chunks, &pipes};
  Pump pump;
  const uint64_t total = random.below(2) == 0 ? random.below(5'000) : random.below(6'000'000);
  uint64_t sent = 0;
  uint64_t received = 0;
  bool senderOpen = true;
  bool finSeen = false;
  std::vector<uint8_t> bytes(300'000);
  PumpResult result = PumpResult::kBlocked;
  for (int turn = 0; turn < 200'000; turn++) {
    if (senderOpen && sent < total && random.below(3) > 0) {
      const size_t want = std::min<uint64_t>(total - sent, 1 + random.below(bytes.size()));
      for (size_t i = 0; i < want; i++) bytes[i] = pattern(sent + i);
      const ssize_t n = send(sender, bytes.data(), want, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<uint64_t>(n);
    }
    if (senderOpen && sent == total) {
      if (reset) resetOnClose(sender);
      if (reset) {
        close(sender);
      } else {
        shutdown(sender, SHUT_WR);
      }
      senderOpen = false;
    }
    epoll_event events[4];
    const int count = epoll_wait(epoll, events, 4, 0);
    for (int i = 0; i < count; i++) {
      static_cast<Endpoint*>(events[i].data.ptr)->onEvents(events[i].events);
    }
    result = pump.run(pools, source, sink);
    if (random.below(4) > 0) {
      const ssize_t n = recv(receiver, bytes.data(), 1 + random.below(bytes.size()), 0);
      for (ssize_t i = 0; i < n; i++) {
        CHECK(bytes[static_cast<size_t>(i)] == pattern(received + static_cast<uint64_t>(i)));
      }
      if (n > 0) received += static_cast<uint64_t>(n);
      if (n == 0) finSeen = true;
    }
    if (result == PumpResult::kReset || finSeen) break;
  }
  if (reset) {
    CHECK(result == PumpResult::kReset && !finSeen && received <= total);
  } else {
    CHECK(finSeen && received == total && pump.moved == total && result == PumpResult::kFinished);
  }
  pump.release(pools);
  CHECK(chunks.inUse() == 0 && pipes.inUse() == 0);
  source.close();
  sink.close();
  if (senderOpen || !reset) close(sender);
  close(receiver);
  close(epoll);
}

}  // namespace

int main(int argc, char** argv) {
  harness::begin(argc, argv);
  Random random(0);
  for (int i = 0; i < 120; i++) relayOnce(random, random.below(3), random.below(4) == 0);
  puts("  passed");
}
