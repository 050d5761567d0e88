// Finds the end of an HTTP/1.1 response (RFC 9112) as its bytes come; keeps nothing of the body.
//
//   state       waits for                        left when
//   ---------   ------------------------------   ------------------------------------------------
//   status      "HTTP/1.x NNN"                   line whole → headers; anything else → garbage
//   headers     header lines                     empty line → body, untilClose, chunkSize or whole
//   body        Content-Length bytes             all there → whole
//   untilClose  the end of the connection        endOfStream() → whole
//   chunkSize   the length of the next chunk     0 → trailer; else → chunk
//   chunk       its bytes and a line end         all there → chunkSize
//   trailer     header lines after the chunks    empty line → whole
#ifndef TLSFARM_LOAD_RESPONSE_H_
#define TLSFARM_LOAD_RESPONSE_H_

#include <cstddef>
#include <cstdint>

namespace tlsfarm {

class LoadResponse {
 public:
  enum class State : uint8_t {
    kStatus,
    kHeaders,
    kBody,
    kUntilClose,
    kChunkSize,
    kChunk,
    kTrailer,
    kWhole,
    kGarbage,
  };

  void begin() { *this = LoadResponse(); }
  // Returns how many bytes it took: fewer than `length` only when the response has come to an end.
  size_t feed(const uint8_t* bytes, size_t length);
  // The peer has said that there is no more. False: there should have been.
  bool endOfStream();

  State state() const { return state_; }
  bool started() const { return started_; }
  // Of the last status line; 0 before.
  int status() const { return status_; }
  // All header lines have been read (not those of an interim response).
  bool headDone() const { return state_ > State::kHeaders && state_ != State::kGarbage; }

 private:
  // Enough for the headers that matter; the rest of a longer line is skipped.
  static constexpr size_t kLineBytes = 96;
  static constexpr uint32_t kMaxHeadBytes = 65536;

  size_t feedLine(const uint8_t* bytes, size_t length);
  size_t feedBody(size_t length);
  void onLine();
  void onStatusLine();
  void onHeader();
  void onHeadersEnd();
  void onChunkSize();

  uint64_t left_ = 0;  // of the body or the chunk, its line end included
  uint32_t headBytes_ = 0;
  uint16_t status_ = 0;
  State state_ = State::kStatus;
  bool started_ = false;
  bool hasLength_ = false;
  bool chunked_ = false;
  uint8_t lineLength_ = 0;
  char line_[kLineBytes] = {};
};

}  // namespace tlsfarm

#endif
