// The timer heap under sanitizers, against a plain list: arm, re-arm, cancel, pop in order.
// sources:
#include "../src/timers.h"

#include <vector>

#include "harness.h"

using harness::Random;
using tlsfarm::Timer;
using tlsfarm::TimerHeap;

namespace {
class Probe final : public Timer {
 public:
  void onTimer() override {}
  uint64_t deadlineMs = 0;
};
}  // namespace

int main(int argc, char** argv) {
  harness::begin(argc, argv);
  Random random(0);
  TimerHeap heap;
  std::vector<Probe> probes(500);
  uint64_t nowMs = 0;
  for (int i = 0; i < 200'000; i++) {
    Probe& probe = probes[random.below(probes.size())];
    switch (random.below(4)) {
      case 0:
      case 1:
        probe.deadlineMs = nowMs + random.below(1000);
        heap.arm(&probe, probe.deadlineMs);
        CHECK(probe.armed());
        break;
      case 2:
        heap.cancel(&probe);
        CHECK(!probe.armed());
        break;
      default: {
        nowMs += random.below(20);
        uint64_t last = 0;
        while (Timer* due = heap.popDue(nowMs)) {
          auto* fired = static_cast<Probe*>(due);
          CHECK(!fired->armed() && fired->deadlineMs <= nowMs && fired->deadlineMs >= last);
          last = fired->deadlineMs;
        }
        size_t armed = 0;
        for (const Probe& each : probes) {
          if (!each.armed()) continue;
          armed++;
          CHECK(each.deadlineMs > nowMs);
        }
        CHECK(armed == heap.size());
      }
    }
  }
  puts("  passed");
}
