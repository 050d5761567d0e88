// The node's shared-memory session table: one memfd, created by the father, mapped by every son.
// Set-associative buckets behind robust process-shared mutexes; see session_table.cc for the layout.
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

struct SessionTableCounters {  // one process's view, plus what is read from shared memory
  uint64_t slots, used, protectedSlots;
  uint64_t hits, misses, expired, mismatched, inserted, evicted, repaired, contended, torn, tooLarge;
};

class SessionTable {
 public:
  // A sealed memfd sized for about `slots` typical sessions (100..200 bytes of DER); -errno on failure.
  static int create(uint32_t slots);
  // Null with a reason when the fd is not a table of this layout version.
  static std::unique_ptr<SessionTable> open(int fd, std::string* reason);
  virtual ~SessionTable() = default;

  // Ids and fingerprints are 32 bytes. Never blocks: a contended bucket is a miss / a lost put.
  virtual bool put(const uint8_t* id, const uint8_t* fingerprint, const SessionRecord& record,
                   int64_t nowS, const uint8_t* replaces) = 0;
  virtual Lookup get(const uint8_t* id, const uint8_t* fingerprint, int64_t nowS,
                     SessionRecord* out) = 0;
  virtual bool remove(const uint8_t* id) = 0;
  virtual SessionTableCounters counters() const = 0;
};

}  // namespace tlsfarm

#endif
