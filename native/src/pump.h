// Moves bytes one way between two sockets: copy at first, splice(2) when the flow proves large.
// Used by the balancer in both directions. Back-pressure: nothing is read while something that was
// read before has not been sent.
#ifndef TLSFARM_PUMP_H_
#define TLSFARM_PUMP_H_

#include <cstdint>

#include "chunk.h"
#include "endpoint.h"
#include "pipe_pool.h"

namespace tlsfarm {

struct PumpPools {
  uint8_t* scratch;  // Reactor::kScratchBytes
  ChunkPool* chunks;
  PipePool* pipes;
};

enum class PumpResult : uint8_t {
  kBlocked,   // wait for an event
  kBudget,    // more to do: run again next iteration, others first
  kFinished,  // the peer's FIN has been passed on
  kReset,     // the source died by RST: everything it had sent before was passed on
};

class Pump {
 public:
  uint64_t moved = 0;

  // Bytes to send before anything is read (the replayed hello's rest).
  void prepend(PumpPools& pools, const uint8_t* bytes, size_t length);
  PumpResult run(PumpPools& pools, Endpoint& from, Endpoint& to);
  bool finished() const { return finished_; }
  bool holdsBytes() const { return pending_ != nullptr || (pipe_ != nullptr && pipe_->held > 0); }
  void release(PumpPools& pools);

 private:
  enum class Step : uint8_t { kGoOn, kWait, kDead };
  Step flushPending(PumpPools& pools, Endpoint& to);
  Step drainPipe(PumpPools& pools, Endpoint& to);

  Chunk* pending_ = nullptr;
  Pipe* pipe_ = nullptr;
  bool large_ = false;
  bool finished_ = false;
  bool dead_ = false;  // the receiver is gone: what still comes is read and dropped
};

}  // namespace tlsfarm

#endif
