// The session table under sanitizers: against a model, under damage, between threads, and between
// processes that are killed.
// sources: session_table.cc
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "../src/session_table.h"
#include "../src/siphash.h"
#include "harness.h"

using harness::Random;
using tlsfarm::Lookup;
using tlsfarm::SessionRecord;
using tlsfarm::SessionTable;

namespace {

constexpr int64_t kNowS = 1'800'000'000;

struct Id {
  uint8_t bytes[32];
};

Id idOf(uint32_t n) {
  Id id = {};
  memcpy(id.bytes, &n, sizeof n);
  return id;
}

Id policyOf(uint32_t n) {
  Id policy = {};
  policy.bytes[31] = n & 1;
  return policy;
}

// A pure function of id and revision, so that whoever finds a record can tell whether it is right.
void fillRecord(uint32_t n, uint32_t revision, SessionRecord* record) {
  uint64_t mixed = (uint64_t{n} << 8 | revision) * 0x9e3779b97f4a7c15;
  record->derLength = 1 + (mixed >> 32) % (mixed % 4 == 0 ? SessionRecord::kMaxDer : 300);
  for (size_t i = 0; i < record->derLength; i++)
    record->der[i] = static_cast<uint8_t>(mixed >> (i % 8 * 8)) ^ static_cast<uint8_t>(i);
  record->expiresAtS = kNowS + 1 + static_cast<int64_t>(mixed % 100);
  record->fullHandshakeAtS = kNowS - revision;
  record->uses = revision;
  record->originNode = static_cast<uint32_t>(mixed);
}

bool same(const SessionRecord& a, const SessionRecord& b) {
  return a.derLength == b.derLength && memcmp(a.der, b.der, a.derLength) == 0 &&
         a.expiresAtS == b.expiresAtS && a.fullHandshakeAtS == b.fullHandshakeAtS &&
         a.uses == b.uses && a.originNode == b.originNode;
}

std::unique_ptr<SessionTable> map(int fd) {
  std::string reason;
  auto table = SessionTable::open(fd, &reason);
  CHECK(table != nullptr);
  return table;
}

// Random operations on `ids` ids; checks everything that is found. With a model the answers must
// also agree with what was put last; without (others write too) only with the id.
struct Expected {
  uint32_t revision;
  int64_t expiresAtS;
};

void operate(SessionTable* table, Random* random, uint32_t ids, int operations,
             std::map<uint32_t, Expected>* model) {
  auto record = std::make_unique<SessionRecord>();
  auto expected = std::make_unique<SessionRecord>();
  int64_t nowS = kNowS;
  for (int i = 0; operations == 0 || i < operations; i++) {
    const auto n = static_cast<uint32_t>(random->below(ids));
    const Id id = idOf(n), policy = policyOf(n);
    const uint64_t what = random->below(100);
    if (what < 45) {
      const auto revision = static_cast<uint32_t>(random->below(200));
      fillRecord(n, revision, record.get());
      const Id parent = idOf(static_cast<uint32_t>(random->below(ids)));
      const bool stored = table->put(id.bytes, policy.bytes, *record, nowS,
                                     random->below(3) == 0 ? parent.bytes : nullptr);
      if (model != nullptr && stored) (*model)[n] = {revision, record->expiresAtS};
      if (model != nullptr && !stored) {
        CHECK(record->expiresAtS <= nowS);
        model->erase(n);
      }
    } else if (what < 90) {
      const Lookup result = table->get(id.bytes, policy.bytes, nowS, record.get());
      if (result == Lookup::kHit) {
        fillRecord(n, record->uses, expected.get());
        CHECK(same(*record, *expected));
        CHECK(record->expiresAtS > nowS);
      }
      CHECK(result != Lookup::kPolicyMismatch);
      if (model != nullptr) {
        const auto known = model->find(n);
        if (result == Lookup::kHit)
          CHECK(known != model->end() && known->second.revision == record->uses);
        if (result == Lookup::kExpired)
          CHECK(known != model->end() && known->second.expiresAtS <= nowS);
        if (result != Lookup::kHit) model->erase(n);
      }
    } else if (what < 94) {
      const Id other = policyOf(n + 1);
      CHECK(table->get(id.bytes, other.bytes, nowS, record.get()) != Lookup::kHit);
      // It may have found the session expired and dropped it; the model learns that at its get.
    } else if (what < 98) {
      const bool there = table->remove(id.bytes);
      if (model != nullptr) CHECK(!there || model->count(n) == 1);
      if (model != nullptr) model->erase(n);
    } else if (operations != 0) {
      nowS += static_cast<int64_t>(random->below(3));
      if (nowS > kNowS + 60) nowS = kNowS;  // clocks do go back
    }
  }
}

void vectors() {
  uint8_t key[16], message[15];
  for (uint8_t i = 0; i < 16; i++) key[i] = i;
  for (uint8_t i = 0; i < 15; i++) message[i] = i;
  tlsfarm::SipKey sip;
  memcpy(&sip, key, sizeof sip);
  CHECK(tlsfarm::sipHash(sip, message, 15) == 0xa129ca6149be45e5);  // the paper's appendix A
  CHECK(tlsfarm::sipHash(sip, message, 0) == 0x726fdb47dd0e0e31);
}

void layout() {
  const int fd = SessionTable::create(1'000'000);
  CHECK(fd >= 0);
  struct stat status;
  CHECK(fstat(fd, &status) == 0 && status.st_size <= 400'000'000);
  CHECK(map(fd)->counters().slots >= 1'000'000);
  CHECK(ftruncate(fd, 0) != 0 && errno == EPERM);
  close(fd);
}

void model() {
  for (uint32_t slots : {1u, 1'000u, 20'000u}) {
    const int fd = SessionTable::create(slots);
    auto table = map(fd);
    Random random(slots);
    std::map<uint32_t, Expected> known;
    operate(table.get(), &random, 500, 60'000, &known);
    const auto counters = table->counters();
    CHECK(counters.torn == 0 && counters.repaired == 0 && counters.contended == 0);
    CHECK(counters.used <= counters.slots && counters.protectedSlots <= counters.used);
    close(fd);
  }
}

// Bytes anywhere behind the header and the locks change under the table: it may lose sessions, but
// never returns a wrong one, never reads or writes outside, never hangs.
void damage() {
  const int fd = SessionTable::create(200);
  struct stat status;
  CHECK(fstat(fd, &status) == 0);
  const auto bytes = static_cast<size_t>(status.st_size);
  auto* raw =
      static_cast<uint8_t*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  CHECK(raw != MAP_FAILED);
  auto table = map(fd);
  Random random(1);
  constexpr size_t kBookkeeping = 2048, kBucket = 45'056;
  for (int round = 0; round < 20'000; round++) {
    operate(table.get(), &random, 120, 5, nullptr);
    const size_t bucket = bytes - kBucket * (1 + random.below(2));
    // Bookkeeping is a twentieth of a bucket and the more delicate part.
    const size_t at = random.below(2) == 0 ? random.below(kBookkeeping) : random.below(kBucket);
    raw[bucket + at] = static_cast<uint8_t>(random.next());
  }
  const auto counters = table->counters();
  CHECK(counters.torn > 0 && counters.hits > 0);
  munmap(raw, bytes);
  close(fd);
}

void threads() {
  const int fd = SessionTable::create(300);
  auto table = map(fd);
  std::vector<std::thread> all;
  for (uint64_t n = 0; n < 4; n++) {
    all.emplace_back([&, n] {
      Random random(100 + n);
      operate(table.get(), &random, 400, 40'000, nullptr);
    });
  }
  for (std::thread& thread : all) thread.join();
  CHECK(table->counters().torn == 0 && table->counters().repaired == 0);
  close(fd);
}

void kills() {
  const int fd = SessionTable::create(1);
  auto table = map(fd);
  Random random(200);
  constexpr int kKills = 200;
  for (int kill = 0; kill < kKills; kill++) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      Random own(1000 + static_cast<uint64_t>(kill));
      operate(table.get(), &own, 60, 0, nullptr);
    }
    usleep(static_cast<useconds_t>(1'000 + random.below(4'000)));
    CHECK(::kill(child, SIGKILL) == 0);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGKILL);  // and not a failed check of its own
    operate(table.get(), &random, 60, 200, nullptr);
  }
  const auto counters = table->counters();
  printf("  %d killed, %llu buckets repaired\n", kKills,
         static_cast<unsigned long long>(counters.repaired));
  CHECK(counters.repaired > 0 && counters.torn == 0 && counters.contended == 0);
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  harness::begin(argc, argv);
  vectors();
  layout();
  model();
  damage();
  threads();
  kills();
  puts("  passed");
  return 0;
}
