#include "pump.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

namespace tlsfarm {

namespace {
// A flow is large when this much has passed and a read filled the whole scratch: smaller ones do
// not win back the two system calls that a pipe costs, and a pipe counts slots, not bytes (sixteen
// 1-byte segments fill one).
constexpr uint64_t kLargeBytes = 256 * 1024;
// Bytes per turn before others get theirs.
constexpr uint64_t kBudgetBytes = 1024 * 1024;
}  // namespace

void Pump::prepend(PumpPools& pools, const uint8_t* bytes, size_t length) {
  if (length > 0) pending_ = pools.chunks->keep(bytes, length);
}

void Pump::release(PumpPools& pools) {
  pools.chunks->give(pending_);
  pending_ = nullptr;
  pools.pipes->give(pipe_);
  pipe_ = nullptr;
}

Pump::Step Pump::flushPending(PumpPools& pools, Endpoint& to) {
  while (pending_->length() > 0) {
    if (!to.writable) return Step::kWait;
    const ssize_t n =
        send(to.fd, pending_->bytes + pending_->start, pending_->length(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        to.sendFailed(errno);
        return Step::kDead;
      }
      to.writable = false;
      return Step::kWait;
    }
    pending_->start += static_cast<size_t>(n);
    moved += static_cast<uint64_t>(n);
  }
  pools.chunks->give(pending_);
  pending_ = nullptr;
  return Step::kGoOn;
}

Pump::Step Pump::drainPipe(PumpPools&, Endpoint& to) {
  while (pipe_->held > 0) {
    if (!to.writable) return Step::kWait;
    // Never SPLICE_F_MORE: it corks the last chunk for 200 ms.
    const ssize_t n =
        splice(pipe_->readFd, nullptr, to.fd, nullptr, pipe_->held, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        to.sendFailed(errno);
        return Step::kDead;
      }
      to.writable = false;
      return Step::kWait;
    }
    pipe_->held -= static_cast<size_t>(n);
    moved += static_cast<uint64_t>(n);
  }
  return Step::kGoOn;
}

PumpResult Pump::run(PumpPools& pools, Endpoint& from, Endpoint& to) {
  if (finished_) return PumpResult::kFinished;
  if (!to.open() || !from.open()) return PumpResult::kBlocked;
  const uint64_t stopAt = moved + kBudgetBytes;
  for (;;) {
    if (!dead_) {
      Step step = Step::kGoOn;
      if (pending_ != nullptr) step = flushPending(pools, to);
      if (step == Step::kGoOn && pipe_ != nullptr) step = drainPipe(pools, to);
      if (step == Step::kWait) return PumpResult::kBlocked;
      if (step == Step::kDead) {
        dead_ = true;
        release(pools);
      }
    }
    if (from.eof) {
      if (!dead_ && !to.finSent) {
        shutdown(to.fd, SHUT_WR);
        to.finSent = true;
      }
      finished_ = true;
      release(pools);
      return PumpResult::kFinished;
    }
    if (!from.readable) break;
    if (!dead_ && !to.writable) {
      // Do not read what could not be passed on: the window closes and the sender waits.
      return PumpResult::kBlocked;
    }
    if (moved >= stopAt) return PumpResult::kBudget;

    if (large_ && !dead_ && pipe_ == nullptr) {
      pipe_ = pools.pipes->take();
      if (pipe_ == nullptr) large_ = false;  // none left: copy, and try again after 256 KiB more
    }
    ssize_t n;
    if (pipe_ != nullptr) {
      // The pipe is empty here, so EAGAIN can only mean "socket empty", not "pipe full".
      n = splice(from.fd, nullptr, pipe_->writeFd, nullptr, pipe_->capacity,
                 SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
      if (n > 0) pipe_->held = static_cast<size_t>(n);
    } else {
      n = recv(from.fd, pools.scratch, Reactor::kScratchBytes, 0);
    }
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN && !from.failed) {
        from.readable = false;
        break;
      }
      return PumpResult::kReset;
    }
    if (n == 0) {
      if (from.broken) return PumpResult::kReset;
      from.eof = true;
      continue;
    }
    if (pipe_ != nullptr) continue;
    const auto got = static_cast<size_t>(n);
    if (dead_) {
      moved += got;
      continue;
    }
    if (got < Reactor::kScratchBytes) {
      if (!from.hungUp) from.readable = false;
    } else if (moved >= kLargeBytes) {
      large_ = true;
    }
    size_t sent = 0;
    while (sent < got) {
      const ssize_t m = send(to.fd, pools.scratch + sent, got - sent, MSG_NOSIGNAL);
      if (m >= 0) {
        sent += static_cast<size_t>(m);
        continue;
      }
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        to.writable = false;
      } else {
        to.sendFailed(errno);
        dead_ = true;
      }
      break;
    }
    moved += sent;
    if (sent < got && !dead_) pending_ = pools.chunks->keep(pools.scratch + sent, got - sent);
  }
  // The source is drained: an empty pipe serves another flow meanwhile.
  if (pipe_ != nullptr && pipe_->held == 0) {
    pools.pipes->give(pipe_);
    pipe_ = nullptr;
  }
  return PumpResult::kBlocked;
}

}  // namespace tlsfarm
