// What a data plane counts, by name. The numbers live in a Float64Array that TypeScript owns and C++
// writes: reading them costs no call. Gauges (connections, hellos …) go up and down; the rest only up.
#ifndef TLSFARM_COUNTERS_H_
#define TLSFARM_COUNTERS_H_

#include <cstddef>

namespace tlsfarm {

#define TLSFARM_BALANCER_COUNTERS(X)                                                              \
  X(accepted) X(connections) X(undecidedHellos) X(relaying) X(acceptPauses)                       \
  X(helloWhole) X(helloNotTls) X(helloTooLarge) X(helloTimeout) X(helloShed) X(clientGoneEarly)   \
  X(routeRefused) X(connects) X(connectRefused) X(connectTimeout) X(firstByteTimeout)             \
  X(closedBeforeFirstByte) X(localExhausted) X(noTerminator) X(answered) X(retried)               \
  X(clientReset) X(terminatorReset) X(idleTimeout) X(closedClean) X(bytesToTerminator)            \
  X(bytesToClient) X(pipesInUse) X(chunksInUse) X(wakeUps) X(routeCalls) X(drained)

#define TLSFARM_TERMINATOR_COUNTERS(X)                                                            \
  X(accepted) X(connections) X(acceptPauses) X(handshaking) X(paused) X(waitingForFiber)          \
  X(zombies) X(zombiesMade) X(fibersInUse) X(fibersAllocated) X(handshakeFull12)                  \
  X(handshakeResumed12) X(handshakeFull13) X(handshakeResumed13) X(offeredButFull)                \
  X(handshakeTimeout) X(handshakeAbandoned) X(failedNotTls) X(failedVersion) X(failedCipher)      \
  X(failedGroup) X(failedAlpn) X(failedClientAlert) X(failedEof) X(failedReset) X(failedOther)    \
  X(sessionLookups) X(sessionLookupsShed) X(sessionHits) X(sessionNotFound) X(sessionExpired)     \
  X(sessionMismatch) X(sessionContended) X(sessionTorn) X(sessionForeignId) X(sessionMemo)        \
  X(sessionUndecodable) X(sessionStored) X(sessionStoreFailed) X(sessionTooLarge)                 \
  X(upstreamConnects) X(upstreamRefused) X(upstreamTimeout) X(upstreamReset) X(localExhausted)    \
  X(clientReset) X(truncatedByClient) X(brokenByClient) X(closeNotifyByClient) X(idleTimeout)     \
  X(lingerTimeout) X(closedClean) X(bytesToUpstream) X(bytesToClient) X(chunksInUse) X(wakeUps)   \
  X(opsSubmitted) X(opsCompleted) X(opsFailed) X(opsCancelled) X(opsInFlight) X(opsRetried)       \
  X(opsQueued) X(opsInlined) X(opsVerifyFailed) X(polls) X(emptyPolls) X(pauses) X(drained)

#define TLSFARM_COUNTER_ENUM(name) name,
enum class BalancerCounter : size_t { TLSFARM_BALANCER_COUNTERS(TLSFARM_COUNTER_ENUM) count_ };
enum class TerminatorCounter : size_t { TLSFARM_TERMINATOR_COUNTERS(TLSFARM_COUNTER_ENUM) count_ };
#undef TLSFARM_COUNTER_ENUM

template <typename Name>
class Counters {
 public:
  void bind(double* values) { values_ = values; }
  void add(Name name, double by = 1) { values_[static_cast<size_t>(name)] += by; }
  void set(Name name, double value) { values_[static_cast<size_t>(name)] = value; }
  double get(Name name) const { return values_[static_cast<size_t>(name)]; }

 private:
  double* values_ = nullptr;
};

}  // namespace tlsfarm

#endif
