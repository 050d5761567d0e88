#include "hello_framer.h"

#include <algorithm>

namespace tlsfarm {

namespace {
constexpr uint8_t kHandshake = 22;            // RFC 8446 section 5.1, ContentType
constexpr uint8_t kClientHello = 1;           // RFC 8446 section 4, HandshakeType
constexpr size_t kRecordHeader = 5;           // type 1, legacy_record_version 2, length 2
constexpr size_t kHandshakeHeader = 4;        // msg_type 1, length 3
constexpr size_t kMaxRecordPayload = 1 << 14;  // RFC 8446 section 5.1
}  // namespace

const char* HelloFramer::name(State state) {
  switch (state) {
    case State::kIncomplete:
      return "incomplete";
    case State::kWhole:
      return "whole";
    case State::kNotTls:
      return "not-tls";
    case State::kTooLarge:
      return "too-large";
  }
  return "?";
}

HelloFramer::State HelloFramer::feed(const uint8_t* bytes, size_t length) {
  if (state_ != State::kIncomplete) return state_;
  for (;;) {
    if (recordLeft_ == 0) {
      // A header is judged as far as it is there, so that "GET / HTTP" is closed at its first byte.
      const uint8_t* header = bytes + position_;
      const size_t have = length - position_;
      if (have >= 1 && header[0] != kHandshake) return finish(State::kNotTls);
      if (have >= 2 && header[1] != 3) return finish(State::kNotTls);
      if (have < kRecordHeader) break;
      const size_t payload = static_cast<size_t>(header[3]) << 8 | header[4];
      // Zero-length handshake fragments are forbidden (section 5.1): they would be free work.
      if (payload == 0 || payload > kMaxRecordPayload) return finish(State::kNotTls);
      position_ += kRecordHeader;
      recordLeft_ = payload;
    }
    if (position_ == length) break;
    size_t step = std::min(length - position_, recordLeft_);
    if (messageSeen_ < kHandshakeHeader) {
      const uint8_t byte = bytes[position_];
      if (messageSeen_ == 0) {
        if (byte != kClientHello) return finish(State::kNotTls);
      } else {
        messageLength_ = messageLength_ << 8 | byte;
      }
      step = 1;
      if (messageSeen_ == kHandshakeHeader - 1) {
        messageLength_ += kHandshakeHeader;
        if (messageLength_ + kRecordHeader > kMaxBytes) return finish(State::kTooLarge);
      }
    } else {
      step = std::min(step, messageLength_ - messageSeen_);
    }
    position_ += step;
    recordLeft_ -= step;
    messageSeen_ += step;
    if (messageSeen_ >= kHandshakeHeader && messageSeen_ == messageLength_) {
      // Nothing may follow a ClientHello in its record (RFC 8446 section 5.1), and no server looks at a
      // record before it is whole: it would stay silent, and we would hold that against it.
      if (recordLeft_ != 0) return finish(State::kNotTls);
      return finish(position_ > kMaxBytes ? State::kTooLarge : State::kWhole);
    }
  }
  if (length >= kMaxBytes) return finish(State::kTooLarge);
  return state_;
}

}  // namespace tlsfarm
