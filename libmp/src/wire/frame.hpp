#pragma once
/// @file
/// Frames: how messages follow each other on a stream of bytes. Pure functions of bytes, so that they can be fuzzed.
///
/// Shape:    32 bytes of header, little-endian, then the body; doc/wire-format.md draws it.
/// Threads:  functions of values; an assembler is thread-compatible.   Processes: functions of values.
/// Source:   doc/decisions/0002-wire-format.md; FAULTS rows 53, 57, 58.

#include "mp/error.hpp"

#include <array>
#include <boost/system/result.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mp::wire {

/// Rises with every change of a header or hello; part of every header, so that strangers are noticed at once.
inline constexpr std::uint16_t frame_version = 1;
inline constexpr std::size_t frame_header_bytes = 32;

enum class frame_kind : std::uint16_t {
  hello = 1,     ///< who I am
  message,       ///< a value, nobody answers
  request,       ///< a value; the answer has the same correlation id
  answer,        ///< the value asked for
  failure,       ///< instead of an answer
  credit,        ///< the reader has room for more
  close,         ///< an orderly end: the last frame
  last = close,  // a kind above is malformed
};

struct frame_header {
  frame_kind kind = frame_kind::message;
  std::uint16_t descriptors = 0;  ///< that travel along
  std::uint64_t length = 0;       ///< bytes of the body
  std::uint64_t type_hash = 0;    ///< of the value in it; 0: bytes without a type
  std::uint64_t correlation = 0;  ///< what an answer answers
  friend bool operator==(const frame_header&, const frame_header&) = default;
};

/// What a receiver takes at most. Everything above is refused before memory is touched for it.
struct frame_limits {
  std::uint64_t body_bytes = std::uint64_t{1} << 32;
  std::uint16_t descriptors = 253;  // what one message of a Unix socket carries
};

std::array<std::byte, frame_header_bytes> encode_header(const frame_header&) noexcept;

/// Reads the header at the beginning of `bytes`. Fewer than frame_header_bytes, another version, an unknown kind:
/// bad_frame. A body or descriptors beyond the limits: too_large.
boost::system::result<frame_header> decode_header(std::span<const std::byte> bytes,
                                                  const frame_limits& limits = {}) noexcept;

/// A frame whose body is borrowed from the assembler until the next call of room().
struct frame {
  frame_header header;
  std::span<const std::byte> body;
};

/// Puts frames together from a stream that is cut anywhere. Memory follows the bytes that came, never those promised:
/// at most twice of them and 64 KiB.
///
/// Invariants: (1) begin_ <= end_ <= bytes_.size(); (2) what lies in [begin_, end_) came and was not given out;
///             (3) after an error nothing is given out any more.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class frame_assembler {
public:
  explicit frame_assembler(const frame_limits& limits = {}) noexcept : limits_(limits) {}

  /// Where the next bytes of the stream go; never empty. Bodies given out before are gone.
  std::span<std::byte> room();
  /// The first `n` bytes of room() came.
  void came(std::size_t n) noexcept { end_ += n; }

  /// The next whole frame; nullopt: more bytes are needed; an error: the stream is damaged, close it.
  boost::system::result<std::optional<frame>> next() noexcept;

  /// Bytes of a frame that began and is not whole: an end of the stream here is a death, not a leave.
  bool in_the_middle() const noexcept { return begin_ != end_; }
  /// Bytes of memory held.
  std::size_t capacity() const noexcept { return bytes_.capacity(); }

private:
  frame_limits limits_;
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  boost::system::error_code damage_;
};

}  // namespace mp::wire
