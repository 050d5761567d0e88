// Layout of the memfd. Little-endian, written and read only by this file; the version changes when
// anything below does, and a process refuses a table of another version.
//
//   0       Header      magic, version, sizes, key; shared counters            4,096 bytes
//   4,096   Lock[n]     one cache line per bucket: mutex, in-progress mark     64 bytes each
//   ...     Bucket[n]   page-aligned                                           45,056 bytes each
//
//   Bucket  Meta[128]   bookkeeping, 16 bytes each: tag, age, expiry, state
//           Slot[128]   336 bytes each
//
//   a session       ┌ Entry 104 ──────────────────────┬ DER 232 ┐   one slot: the typical session
//                   │ checksum id fingerprint times … │         │
//                   └─────────────────────────────────┴─────────┘
//   a larger one    first slot as above, then up to 24 *tail* slots of 336 bytes DER each, anywhere
//                   in the bucket, in ascending order (so no links that could be torn)
//
// Size classes are thus counts of slots, 1 to 25, out of one pool per bucket: a farm whose clients
// all bring certificates uses the whole table, and a lookup takes one lock, whatever the size.
//
// A million typical sessions: 9/8 x 1,000,000 slots = 8,790 buckets, 396.7 MB. The eighth is there
// because sessions do not spread evenly: at a million sessions a bucket holds 114 on average, and
// about 0.4 % of the sessions fall into buckets that are full.
#include "session_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "siphash.h"

namespace tlsfarm {
namespace {

constexpr uint64_t kMagic = 0x656c626154666c74;  // "tlfTable"
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 4096;
constexpr uint32_t kSlotsPerBucket = 128;
constexpr size_t kSlotBytes = 336;
constexpr size_t kIdBytes = 32;
// Protected sessions may fill three quarters of a bucket: newcomers always have room among
// themselves and never push out a session that has proved useful.
constexpr uint32_t kProtectedMax = kSlotsPerBucket * 3 / 4;
// A bucket is held for a microsecond or so. Waiting longer than a few means that the holder is
// preempted or stopped; a handshake does not wait for that. A removal tries harder: giving up
// leaves a session that somebody wanted gone.
constexpr int kSpins = 64;
constexpr int kRemoveSpins = 4096;

enum State : uint8_t { kFree = 0, kProbation, kProtected, kSuperseded, kTail };

// What lookups and evictions scan. Not under the checksum, because every hit changes it: damage
// here can lose a session or evict the wrong one, never return a wrong one.
struct Meta {
  uint32_t tag;       // 32 bits of the keyed hash of the id
  uint32_t usedAt;    // the bucket's clock at the last use; compared as differences, so it may wrap
  uint32_t expiresS;  // the entry's expiry, saturated: evictions look at this, lookups at the entry
  State state;
  uint8_t owner;  // of a tail: its first slot
  uint16_t zero;
};

// `checksum` covers everything from `id` to the last byte of DER.
struct Entry {
  uint64_t checksum;
  uint8_t id[kIdBytes];
  uint8_t fingerprint[kIdBytes];
  int64_t expiresAtS;
  int64_t fullHandshakeAtS;
  uint32_t uses;
  uint32_t originNode;
  uint32_t derLength;
  uint32_t zero;
};

constexpr size_t kFirstDer = kSlotBytes - sizeof(Entry);

union Slot {
  struct {
    Entry entry;
    uint8_t der[kFirstDer];
  } first;
  uint8_t tail[kSlotBytes];
};

struct Bucket {
  Meta meta[kSlotsPerBucket];
  Slot slots[kSlotsPerBucket];
};

// `used` and `protectedSlots` are the sums of the bucket's states, kept where statistics can read
// them without touching the bucket.
struct alignas(64) Lock {
  pthread_mutex_t mutex;
  std::atomic<uint32_t> inProgress;
  uint32_t clock;
  std::atomic<uint32_t> used;
  std::atomic<uint32_t> protectedSlots;
};

using Counter = std::atomic<uint64_t>;

struct SharedCounters {
  Counter hits, misses, expired, mismatched, inserted, evicted, repaired, contended, torn, tooLarge;
};

struct Header {
  uint64_t magic;
  uint32_t version;
  uint32_t bucketCount;
  uint32_t slotsPerBucket;
  uint32_t slotBytes;
  uint32_t mutexBytes;  // another libc's mutex is another layout
  uint32_t zero;
  uint64_t totalBytes;
  SipKey key;  // random: nobody outside can aim ids at one bucket
  uint64_t checksum;
  alignas(64) SharedCounters counters;
};

static_assert(sizeof(Meta) == 16 && sizeof(Entry) == 104 && sizeof(Slot) == kSlotBytes);
static_assert(sizeof(Lock) == 64 && sizeof(Bucket) == 45056 && sizeof(Header) <= kHeaderBytes);
static_assert(Counter::is_always_lock_free, "locks inside an atomic do not work across processes");

constexpr size_t bucketsOffset(uint64_t bucketCount) {
  return kHeaderBytes + (bucketCount * sizeof(Lock) + 4095) / 4096 * 4096;
}

constexpr uint64_t totalBytes(uint64_t bucketCount) {
  return bucketsOffset(bucketCount) + bucketCount * sizeof(Bucket);
}

constexpr uint64_t bucketsFor(uint64_t slots) {
  return std::max<uint64_t>(1, (slots * 9 / 8 + kSlotsPerBucket - 1) / kSlotsPerBucket);
}

static_assert(totalBytes(bucketsFor(1'000'000)) <= 400'000'000);

uint64_t headerChecksum(const Header& header) {
  return sipHash({kMagic, kVersion}, &header, offsetof(Header, checksum));
}

void add(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

bool sameBytes(const uint8_t* a, const uint8_t* b) {
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < kIdBytes; i++) difference = difference | (a[i] ^ b[i]);
  return difference == 0;
}

void pauseCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

size_t slotsFor(size_t derLength) {
  if (derLength <= kFirstDer) return 1;
  return 1 + (derLength - kFirstDer + kSlotBytes - 1) / kSlotBytes;
}

bool isFirst(const Meta& meta) { return meta.state >= kProbation && meta.state <= kSuperseded; }

// A bucket that is held. Only the functions of this class look inside one; their caller has the
// lock, so nothing here thinks about other processes.
class Held {
 public:
  // Falsy when the bucket stayed locked. A holder that died leaves a bucket in an unknown state:
  // it is emptied. So is one whose in-progress mark is still set.
  Held(Lock* lock, Bucket* bucket, SharedCounters* counters, int spins)
      : lock_(lock), bucket_(bucket), counters_(counters) {
    int result = pthread_mutex_trylock(&lock->mutex);
    for (; result == EBUSY && spins > 0; spins--) {
      pauseCpu();
      result = pthread_mutex_trylock(&lock->mutex);
    }
    if (result != 0 && result != EOWNERDEAD) {
      add(counters->contended);
      return;
    }
    held_ = true;
    if (result == EOWNERDEAD || lock->inProgress.load(std::memory_order_relaxed) != 0) repair();
    if (result == EOWNERDEAD) pthread_mutex_consistent(&lock->mutex);
  }
  ~Held() {
    if (held_) pthread_mutex_unlock(&lock_->mutex);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  explicit operator bool() const { return held_; }

  // Index of the session's first slot, or -1.
  int find(uint32_t tag, const uint8_t* id) const {
    for (uint32_t i = 0; i < kSlotsPerBucket; i++) {
      const Meta& meta = bucket_->meta[i];
      if (meta.tag == tag && isFirst(meta) && sameBytes(entry(i).id, id)) return i;
    }
    return -1;
  }

  const Entry& entry(int index) const { return bucket_->slots[index].first.entry; }
  State state(int index) const { return bucket_->meta[index].state; }

  // Copies the session out; false when it does not match its checksum, and `out` is wiped.
  bool read(int index, const SipKey& key, SessionRecord* out) const {
    const Entry& found = entry(index);
    if (found.derLength > SessionRecord::kMaxDer) return false;
    size_t at = std::min<size_t>(found.derLength, kFirstDer);
    memcpy(out->der, bucket_->slots[index].first.der, at);
    for (uint32_t i = 0; i < kSlotsPerBucket && at < found.derLength; i++) {
      if (!isTailOf(i, index)) continue;
      const size_t length = std::min(found.derLength - at, kSlotBytes);
      memcpy(out->der + at, bucket_->slots[i].tail, length);
      at += length;
    }
    if (at != found.derLength || found.checksum != checksum(key, found, out->der)) {
      explicit_bzero(out->der, at);
      return false;
    }
    out->derLength = found.derLength;
    out->expiresAtS = found.expiresAtS;
    out->fullHandshakeAtS = found.fullHandshakeAtS;
    out->uses = found.uses;
    out->originNode = found.originNode;
    return true;
  }

  // Marks a use; the first one ends probation.
  void touch(int index) {
    Meta& meta = bucket_->meta[index];
    meta.usedAt = ++lock_->clock;
    if (meta.state != kProbation) return;
    begin();
    meta.state = kProtected;
    limitProtected(index);
    end();
  }

  // The renewal takes the parent's place among the protected, if it had one. There is one place to
  // take: of several renewals of one parent (a client with parallel connections, or one who resumes
  // the same session for ever) the first gets it, the others prove themselves.
  State supersede(int index) {
    const State before = state(index);
    begin();
    bucket_->meta[index].state = kSuperseded;
    end();
    return before == kProtected ? kProtected : kProbation;
  }

  void remove(int index) {
    begin();
    wipe(index);
    end();
  }

  // An older session under this id gives its place to the new one.
  void insert(uint32_t tag, const Entry& from, const uint8_t* der, State state, int64_t nowS,
              const SipKey& key) {
    begin();
    const int old = find(tag, from.id);
    if (old >= 0) {
      state = this->state(old);
      wipe(old);
    }
    const size_t wanted = slotsFor(from.derLength);
    while (freeSlots() < wanted) evictOne(nowS);

    int first = -1;
    size_t at = 0;
    for (uint32_t i = 0; first < 0 || at < from.derLength; i++) {
      Meta& meta = bucket_->meta[i];
      if (meta.state != kFree) continue;
      Slot& slot = bucket_->slots[i];
      size_t length;
      if (first < 0) {
        first = i;
        length = std::min<size_t>(from.derLength, kFirstDer);
        slot.first.entry = from;
        slot.first.entry.checksum = checksum(key, from, der);
        memcpy(slot.first.der, der, length);
        const int64_t expiresS = std::clamp<int64_t>(from.expiresAtS, 0, UINT32_MAX);
        meta = {tag, ++lock_->clock, static_cast<uint32_t>(expiresS), state, 0, 0};
      } else {
        length = std::min(from.derLength - at, kSlotBytes);
        memcpy(slot.tail, der + at, length);
        meta = {0, 0, 0, kTail, static_cast<uint8_t>(first), 0};
      }
      at += length;
    }
    limitProtected(first);
    end();
    add(counters_->inserted);
  }

 private:
  bool isTailOf(uint32_t index, int first) const {
    const Meta& meta = bucket_->meta[index];
    return meta.state == kTail && meta.owner == first;
  }

  // Between these two the bucket may be inconsistent. The fences keep the compiler and the CPU from
  // moving the change out from between the marks.
  void begin() {
    lock_->inProgress.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  void end() {
    lock_->used.store(kSlotsPerBucket - freeSlots(), std::memory_order_relaxed);
    lock_->protectedSlots.store(protectedSlots(), std::memory_order_relaxed);
    lock_->inProgress.store(0, std::memory_order_release);
  }

  void repair() {
    begin();
    explicit_bzero(bucket_, sizeof *bucket_);
    end();
    add(counters_->repaired);
  }

  // A tail counts with the session it belongs to.
  uint32_t protectedSlots() const {
    uint32_t count = 0;
    for (const Meta& meta : bucket_->meta) {
      const bool tail = meta.state == kTail;
      const Meta& first = tail ? bucket_->meta[meta.owner % kSlotsPerBucket] : meta;
      count += first.state == kProtected;
    }
    return count;
  }

  uint32_t freeSlots() const {
    uint32_t count = 0;
    for (const Meta& meta : bucket_->meta) count += meta.state == kFree;
    return count;
  }

  // Secrets do not outlive their session.
  void wipe(int first) {
    for (uint32_t i = 0; i < kSlotsPerBucket; i++) {
      if (i == static_cast<uint32_t>(first) || !isTailOf(i, first)) continue;
      explicit_bzero(&bucket_->slots[i], kSlotBytes);
      bucket_->meta[i] = {};
    }
    explicit_bzero(&bucket_->slots[first], kSlotBytes);
    bucket_->meta[first] = {};
  }

  // Who goes first: the expired, then the superseded, then those on probation, then the protected;
  // the longest unused of each.
  void evictOne(int64_t nowS) {
    int victim = -1;
    uint64_t victimRank = 0;
    bool missed = false;
    for (uint32_t i = 0; i < kSlotsPerBucket; i++) {
      const Meta& meta = bucket_->meta[i];
      if (!isFirst(meta)) continue;
      const bool expired = meta.expiresS <= nowS;
      const uint64_t group = expired                     ? 4
                             : meta.state == kSuperseded ? 3
                             : meta.state == kProbation  ? 2
                                                         : 1;
      const uint64_t rank = group << 32 | (lock_->clock - meta.usedAt);
      if (rank <= victimRank) continue;
      victim = i;
      victimRank = rank;
      missed = group <= 2;
    }
    if (victim < 0) {  // tails without a session: only damage makes them
      repair();
      begin();
      return;
    }
    wipe(victim);
    if (missed) add(counters_->evicted);
  }

  // Sends the longest unused of the protected, `newest` excepted, back on probation, as if it had
  // just arrived there: a second chance.
  void limitProtected(int newest) {
    while (protectedSlots() > kProtectedMax) {
      int oldest = -1;
      uint32_t oldestAge = 0;
      for (int i = 0; i < static_cast<int>(kSlotsPerBucket); i++) {
        const Meta& meta = bucket_->meta[i];
        if (meta.state != kProtected || i == newest) continue;
        const uint32_t age = lock_->clock - meta.usedAt;
        if (oldest >= 0 && age <= oldestAge) continue;
        oldest = i;
        oldestAge = age;
      }
      if (oldest < 0) return;
      bucket_->meta[oldest].state = kProbation;
      bucket_->meta[oldest].usedAt = ++lock_->clock;
    }
  }

  // The fields' hash keys the DER's: one checksum over both without copying them together.
  static uint64_t checksum(const SipKey& key, const Entry& entry, const uint8_t* der) {
    const size_t skip = offsetof(Entry, id);
    const uint64_t fields = sipHash(key, entry.id, sizeof entry - skip);
    return sipHash({key.k0 ^ fields, key.k1}, der, entry.derLength);
  }

  Lock* lock_;
  Bucket* bucket_;
  SharedCounters* counters_;
  bool held_ = false;
};

class Table final : public SessionTable {
 public:
  Table(uint8_t* base, size_t bytes)
      : bytes_(bytes),
        header_(reinterpret_cast<Header*>(base)),
        locks_(reinterpret_cast<Lock*>(base + kHeaderBytes)),
        buckets_(reinterpret_cast<Bucket*>(base + bucketsOffset(header_->bucketCount))),
        key_(header_->key) {}
  ~Table() override { munmap(header_, bytes_); }

  bool put(const uint8_t* id, const uint8_t* fingerprint, const SessionRecord& record, int64_t nowS,
           const uint8_t* replaces) override {
    const bool tooLarge = record.derLength > SessionRecord::kMaxDer;
    if (tooLarge) add(counters().tooLarge);
    if (tooLarge || record.derLength == 0 || record.expiresAtS <= nowS) {
      remove(id);  // what was put before under this id is not what was put last
      return false;
    }
    State state = kProbation;
    if (replaces != nullptr && !sameBytes(replaces, id)) {
      // The parent may live in another bucket: one lock at a time, never two. Should the put fail
      // below, the parent only leaves earlier than it might have.
      const uint64_t hash = hashOf(replaces);
      Held held = hold(hash, kSpins);
      const int at = held ? held.find(static_cast<uint32_t>(hash), replaces) : -1;
      if (at >= 0 && sameBytes(held.entry(at).fingerprint, fingerprint)) state = held.supersede(at);
    }
    Entry entry = {};
    memcpy(entry.id, id, kIdBytes);
    memcpy(entry.fingerprint, fingerprint, kIdBytes);
    entry.expiresAtS = record.expiresAtS;
    entry.fullHandshakeAtS = record.fullHandshakeAtS;
    entry.uses = record.uses;
    entry.originNode = record.originNode;
    entry.derLength = static_cast<uint32_t>(record.derLength);
    const uint64_t hash = hashOf(id);
    Held held = hold(hash, kSpins);
    if (!held) return false;
    held.insert(static_cast<uint32_t>(hash), entry, record.der, state, nowS, key_);
    return true;
  }

  Lookup get(const uint8_t* id, const uint8_t* fingerprint, int64_t nowS,
             SessionRecord* out) override {
    const uint64_t hash = hashOf(id);
    Held held = hold(hash, kSpins);
    if (!held) return Lookup::kContended;
    const int at = held.find(static_cast<uint32_t>(hash), id);
    if (at < 0) {
      add(counters().misses);
      return Lookup::kNotFound;
    }
    if (!held.read(at, key_, out)) {
      held.remove(at);
      add(counters().torn);
      return Lookup::kTorn;
    }
    // A session exactly at its deadline is over: OpenSSL would resume it with a lifetime of zero.
    if (out->expiresAtS <= nowS) {
      forget(out);
      held.remove(at);
      add(counters().expired);
      return Lookup::kExpired;
    }
    if (!sameBytes(held.entry(at).fingerprint, fingerprint)) {
      forget(out);
      add(counters().mismatched);
      return Lookup::kPolicyMismatch;
    }
    held.touch(at);
    add(counters().hits);
    return Lookup::kHit;
  }

  bool remove(const uint8_t* id) override {
    const uint64_t hash = hashOf(id);
    Held held = hold(hash, kRemoveSpins);
    const int at = held ? held.find(static_cast<uint32_t>(hash), id) : -1;
    if (at < 0) return false;
    held.remove(at);
    return true;
  }

  SessionTableCounters counters() const override {
    const SharedCounters& shared = header_->counters;
    auto read = [](const Counter& counter) { return counter.load(std::memory_order_relaxed); };
    SessionTableCounters all = {};
    all.slots = uint64_t{header_->bucketCount} * kSlotsPerBucket;
    for (uint32_t i = 0; i < header_->bucketCount; i++) {
      all.used += locks_[i].used.load(std::memory_order_relaxed);
      all.protectedSlots += locks_[i].protectedSlots.load(std::memory_order_relaxed);
    }
    all.hits = read(shared.hits);
    all.misses = read(shared.misses);
    all.expired = read(shared.expired);
    all.mismatched = read(shared.mismatched);
    all.inserted = read(shared.inserted);
    all.evicted = read(shared.evicted);
    all.repaired = read(shared.repaired);
    all.contended = read(shared.contended);
    all.torn = read(shared.torn);
    all.tooLarge = read(shared.tooLarge);
    return all;
  }

 private:
  SharedCounters& counters() { return header_->counters; }
  // The upper half chooses the bucket, the lower half is the tag.
  uint64_t hashOf(const uint8_t* id) const { return sipHash(key_, id, kIdBytes); }
  Held hold(uint64_t hash, int spins) {
    const uint64_t bucket = (hash >> 32) * header_->bucketCount >> 32;
    return Held(&locks_[bucket], &buckets_[bucket], &header_->counters, spins);
  }
  static void forget(SessionRecord* out) {
    explicit_bzero(out->der, out->derLength);
    out->derLength = 0;
  }

  const size_t bytes_;
  Header* const header_;
  Lock* const locks_;
  Bucket* const buckets_;
  const SipKey key_;
};

// Fills a fresh, zeroed memfd. Free slots are all zeros, so only the header and the locks need
// writing: an empty table costs a page per 64 buckets.
int initialise(int fd, uint64_t bucketCount) {
  const uint64_t bytes = totalBytes(bucketCount);
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return -errno;
  const size_t mapped = bucketsOffset(bucketCount);
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return -errno;

  auto* header = static_cast<Header*>(base);
  header->magic = kMagic;
  header->version = kVersion;
  header->bucketCount = static_cast<uint32_t>(bucketCount);
  header->slotsPerBucket = kSlotsPerBucket;
  header->slotBytes = kSlotBytes;
  header->mutexBytes = sizeof(pthread_mutex_t);
  header->totalBytes = bytes;
  int result = getrandom(&header->key, sizeof header->key, 0) < 0 ? errno : 0;
  header->checksum = headerChecksum(*header);

  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  auto* locks = reinterpret_cast<Lock*>(static_cast<uint8_t*>(base) + kHeaderBytes);
  for (uint64_t i = 0; i < bucketCount && result == 0; i++)
    result = pthread_mutex_init(&locks[i].mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  munmap(base, mapped);
  // A size that cannot change is what keeps a mapping of it from ever ending in SIGBUS.
  if (result == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    result = errno;
  return -result;
}

}  // namespace

int SessionTable::create(uint32_t slots) {
  const int fd = memfd_create("tlsfarm-sessions", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  const int result = initialise(fd, bucketsFor(slots));
  if (result == 0) return fd;
  close(fd);
  return result;
}

std::unique_ptr<SessionTable> SessionTable::open(int fd, std::string* reason) {
  auto refuse = [&](const char* why) {
    *reason = why;
    return nullptr;
  };
  struct stat status;
  if (fstat(fd, &status) != 0) return refuse(strerror(errno));
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return refuse("not a sealed memfd");
  const size_t bytes = static_cast<size_t>(status.st_size);
  if (bytes < kHeaderBytes) return refuse("too small for a session table");
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return refuse(strerror(errno));

  const auto* header = static_cast<const Header*>(base);
  const char* why = nullptr;
  if (header->magic != kMagic) {
    why = "not a session table";
  } else if (header->version != kVersion) {
    why = "a session table of another layout version";
  } else if (header->slotsPerBucket != kSlotsPerBucket || header->slotBytes != kSlotBytes ||
             header->mutexBytes != sizeof(pthread_mutex_t)) {
    why = "a session table of another build";
  } else if (header->bucketCount == 0 || header->checksum != headerChecksum(*header) ||
             header->totalBytes != bytes || totalBytes(header->bucketCount) != bytes) {
    why = "a damaged session table";
  }
  if (why != nullptr) {
    munmap(base, bytes);
    return refuse(why);
  }
  madvise(base, bytes, MADV_DONTDUMP);  // core dumps hold no master secrets
  return std::make_unique<Table>(static_cast<uint8_t*>(base), bytes);
}

}  // namespace tlsfarm
