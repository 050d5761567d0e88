// The node's shared-memory session table: one memfd, created by the father, mapped by every son.
// Set-associative buckets behind robust process-shared mutexes; see session_table.cc for the
// layout.
#ifndef TLSFARM_SESSION_TABLE_H_
#define TLSFARM_SESSION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace tlsfarm {

struct SessionRecord {
  static constexpr size_t kMaxDer = 8192;
  uint8_t der[kMaxDer];
  size_t derLength = 0;
  int64_t expiresAtS = 0;        // absolute, Unix seconds
  int64_t fullHandshakeAtS = 0;  // when the chain began
  uint32_t uses = 0;             // resumptions of the chain so far
  uint32_t originNode = 0;
};

enum class Lookup : uint8_t { kHit, kNotFound, kExpired, kPolicyMismatch, kContended, kTorn };

// Read from shared memory: every process that maps the table sees, and adds to, the same numbers.
struct SessionTableCounters {
  // In slots. A typical session takes one; the largest takes 25.
  uint64_t slots, used, protectedSlots;
  // `misses`: not found, nothing else. `evicted`: lost before their time for want of room; sessions
  // that had expired or been superseded do not count. `repaired`: buckets emptied because their
  // holder died. `contended`: lookups, puts and removals given up because a bucket stayed locked.
  uint64_t hits, misses, expired, mismatched, inserted, evicted, repaired, contended, torn,
      tooLarge;
};

class SessionTable {
 public:
  // A sealed memfd sized for `slots` typical sessions (100..232 bytes of DER); -errno on failure.
  static int create(uint32_t slots);
  // Null with a reason when the fd is not a table of this layout version. The fd stays the
  // caller's; it may be closed afterwards.
  static std::unique_ptr<SessionTable> open(int fd, std::string* reason);
  virtual ~SessionTable() = default;

  // Ids and fingerprints are 32 bytes. Nothing here blocks: a contended bucket is a miss, a lost
  // put, a failed removal.

  // False: not stored (too large, already expired, contended). `replaces` (or null) is the session
  // this one renews: it stays findable, but goes first when room is needed.
  virtual bool put(const uint8_t* id, const uint8_t* fingerprint, const SessionRecord& record,
                   int64_t nowS, const uint8_t* replaces) = 0;
  // `out` is filled on kHit only; on anything else it holds no secret.
  virtual Lookup get(const uint8_t* id, const uint8_t* fingerprint, int64_t nowS,
                     SessionRecord* out) = 0;
  // True: it was there and has been wiped.
  virtual bool remove(const uint8_t* id) = 0;
  virtual SessionTableCounters counters() const = 0;
};

}  // namespace tlsfarm

#endif
