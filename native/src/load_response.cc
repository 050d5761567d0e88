#include "load_response.h"

#include <string.h>
#include <strings.h>

#include <algorithm>

namespace tlsfarm {

namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }

// The value of header `name`, null if the line is another header.
const char* valueOf(const char* line, const char* name) {
  const size_t length = strlen(name);
  if (strncasecmp(line, name, length) != 0 || line[length] != ':') return nullptr;
  const char* value = line + length + 1;
  while (*value == ' ' || *value == '\t') ++value;
  return value;
}

int hexDigit(char c) {
  if (isDigit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

size_t LoadResponse::feed(const uint8_t* bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    switch (state_) {
      case State::kStatus:
      case State::kHeaders:
      case State::kChunkSize:
      case State::kTrailer:
        started_ = true;
        at += feedLine(bytes + at, length - at);
        break;
      case State::kBody:
      case State::kChunk:
        at += feedBody(length - at);
        break;
      case State::kUntilClose:
        return length;
      case State::kWhole:
      case State::kGarbage:
        return at;
    }
  }
  return at;
}

bool LoadResponse::endOfStream() {
  if (state_ == State::kUntilClose) state_ = State::kWhole;
  return state_ == State::kWhole;
}

size_t LoadResponse::feedBody(size_t length) {
  const size_t n = static_cast<size_t>(std::min<uint64_t>(length, left_));
  left_ -= n;
  if (left_ == 0) state_ = state_ == State::kBody ? State::kWhole : State::kChunkSize;
  return n;
}

size_t LoadResponse::feedLine(const uint8_t* bytes, size_t length) {
  const auto* end = static_cast<const uint8_t*>(memchr(bytes, '\n', length));
  const size_t n = end != nullptr ? static_cast<size_t>(end - bytes) : length;
  const size_t kept = std::min(n, kLineBytes - 1 - lineLength_);
  memcpy(line_ + lineLength_, bytes, kept);
  lineLength_ = static_cast<uint8_t>(lineLength_ + kept);
  headBytes_ += static_cast<uint32_t>(n);
  if (headBytes_ > kMaxHeadBytes) {
    state_ = State::kGarbage;
    return n;
  }
  if (end == nullptr) {
    // Something that is no HTTP need not send a line end for us to see it.
    if (state_ == State::kStatus && lineLength_ >= 5 && memcmp(line_, "HTTP/", 5) != 0) {
      state_ = State::kGarbage;
    }
    return n;
  }
  if (lineLength_ > 0 && line_[lineLength_ - 1] == '\r') lineLength_ -= 1;
  line_[lineLength_] = 0;
  onLine();
  lineLength_ = 0;
  return n + 1;
}

void LoadResponse::onLine() {
  switch (state_) {
    case State::kStatus:
      onStatusLine();
      return;
    case State::kHeaders:
      if (lineLength_ == 0) {
        onHeadersEnd();
      } else {
        onHeader();
      }
      return;
    case State::kChunkSize:
      onChunkSize();
      return;
    case State::kTrailer:
      if (lineLength_ == 0) state_ = State::kWhole;
      return;
    case State::kBody:
    case State::kUntilClose:
    case State::kChunk:
    case State::kWhole:
    case State::kGarbage:
      return;
  }
}

// Section 4: "HTTP/" DIGIT "." DIGIT SP 3DIGIT SP [ reason ]
void LoadResponse::onStatusLine() {
  const char* l = line_;
  const bool good = lineLength_ >= 12 && memcmp(l, "HTTP/1.", 7) == 0 && isDigit(l[7]) &&
                    l[8] == ' ' && isDigit(l[9]) && isDigit(l[10]) && isDigit(l[11]) &&
                    (l[12] == ' ' || l[12] == 0);
  if (!good) {
    state_ = State::kGarbage;
    return;
  }
  status_ = static_cast<uint16_t>((l[9] - '0') * 100 + (l[10] - '0') * 10 + (l[11] - '0'));
  state_ = State::kHeaders;
}

void LoadResponse::onHeader() {
  if (const char* value = valueOf(line_, "content-length")) {
    uint64_t bytes = 0;
    const char* c = value;
    for (; isDigit(*c) && bytes < uint64_t{1} << 56; ++c) {
      bytes = bytes * 10 + static_cast<uint64_t>(*c - '0');
    }
    // Section 6.3: a length that is no number, or two that differ, cannot be recovered from.
    if (c == value || (*c != 0 && *c != ' ') || (hasLength_ && bytes != left_)) {
      state_ = State::kGarbage;
      return;
    }
    hasLength_ = true;
    left_ = bytes;
  } else if (const char* coding = valueOf(line_, "transfer-encoding")) {
    chunked_ = strcasestr(coding, "chunked") != nullptr;
  }
}

// Section 6.3, for a response to GET or POST.
void LoadResponse::onHeadersEnd() {
  if (status_ < 200) {  // interim: the real one follows
    begin();
    started_ = true;
    return;
  }
  if (status_ == 204 || status_ == 304) {
    state_ = State::kWhole;
  } else if (chunked_) {
    state_ = State::kChunkSize;
  } else if (hasLength_) {
    state_ = left_ == 0 ? State::kWhole : State::kBody;
  } else {
    state_ = State::kUntilClose;
  }
}

// Section 7.1: 1*HEXDIG [ chunk-ext ] CRLF; the bytes; CRLF.
void LoadResponse::onChunkSize() {
  uint64_t bytes = 0;
  int digits = 0;
  for (const char* c = line_; hexDigit(*c) >= 0 && digits < 14; ++c, ++digits) {
    bytes = bytes * 16 + static_cast<uint64_t>(hexDigit(*c));
  }
  headBytes_ = 0;  // the limit is for heads, not for the number of chunks
  if (digits == 0) {
    state_ = State::kGarbage;
  } else if (bytes == 0) {
    state_ = State::kTrailer;
  } else {
    left_ = bytes + 2;
    state_ = State::kChunk;
  }
}

}  // namespace tlsfarm
