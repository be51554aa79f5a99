#pragma once
/// @file
/// The header of what travels over a socket. Pure functions of bytes.
///
/// Shape:    32 bytes, little-endian; doc/wire-format.md draws it and what follows.
/// Threads:  functions of values.   Processes: functions of values.
/// Source:   doc/decisions/0002-wire-format.md; FAULTS rows 53, 57, 58.

#include "mp/error.hpp"

#include <array>
#include <boost/system/result.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mp::wire {

/// Rises with every change of a header or hello; part of every header, so that strangers are noticed at once.
inline constexpr std::uint16_t frame_version = 1;
inline constexpr std::size_t frame_header_bytes = 32;

enum class frame_kind : std::uint16_t {
  message = 2,  ///< a record of a channel; the other numbers are kept for streams
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

}  // namespace mp::wire
