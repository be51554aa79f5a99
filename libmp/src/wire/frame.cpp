// Headers. A header can promise anything: whoever reads one takes memory only for bytes that came.

#include "wire/frame.hpp"

#include <bit>
#include <cstring>

namespace mp::wire {
namespace {

static_assert(std::endian::native == std::endian::little);

// As it lies in the stream. No padding: 2 + 2 + 2 + 2 + 3 * 8.
struct layout {
  std::uint16_t magic = 0x706d;  // "mp"
  std::uint16_t version = frame_version;
  std::uint16_t kind = 0;
  std::uint16_t descriptors = 0;
  std::uint64_t length = 0;
  std::uint64_t type_hash = 0;
  std::uint64_t correlation = 0;
};
static_assert(sizeof(layout) == frame_header_bytes);

}  // namespace

std::array<std::byte, frame_header_bytes> encode_header(const frame_header& header) noexcept {
  layout l;
  l.kind = static_cast<std::uint16_t>(header.kind);
  l.descriptors = header.descriptors;
  l.length = header.length;
  l.type_hash = header.type_hash;
  l.correlation = header.correlation;
  return std::bit_cast<std::array<std::byte, frame_header_bytes>>(l);
}

boost::system::result<frame_header> decode_header(std::span<const std::byte> bytes,
                                                  const frame_limits& limits) noexcept {
  layout l;
  if (bytes.size() < sizeof l) return detail::to_boost(errc::bad_frame);
  std::memcpy(&l, bytes.data(), sizeof l);
  if (l.magic != layout{}.magic || l.version != frame_version) return detail::to_boost(errc::bad_frame);
  if (l.kind != static_cast<std::uint16_t>(frame_kind::message)) return detail::to_boost(errc::bad_frame);
  if (l.length > limits.body_bytes || l.descriptors > limits.descriptors) return detail::to_boost(errc::too_large);
  return frame_header{static_cast<frame_kind>(l.kind), l.descriptors, l.length, l.type_hash, l.correlation};
}

}  // namespace mp::wire
