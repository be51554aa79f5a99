// Frames. Must never believe a length: a header can promise anything, memory is only taken for bytes that came.

#include "wire/frame.hpp"

#include <algorithm>
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

constexpr std::size_t step = 64 * 1024;  // one read of a stream socket; what an idle connection costs

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
  if (l.kind == 0 || l.kind > static_cast<std::uint16_t>(frame_kind::last)) return detail::to_boost(errc::bad_frame);
  if (l.length > limits.body_bytes || l.descriptors > limits.descriptors) return detail::to_boost(errc::too_large);
  return frame_header{static_cast<frame_kind>(l.kind), l.descriptors, l.length, l.type_hash, l.correlation};
}

std::span<std::byte> frame_assembler::room() {
  // What was given out is dropped only here, because its reader still looks at it until now.
  if (begin_ != 0) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // Doubling what came: a header that promises 4 GiB and sends nothing more costs `step`.
  if (bytes_.size() - end_ < step / 2) bytes_.resize(std::max(step, end_ * 2));
  // A large body is gone: back to what an idle connection costs.
  if (end_ == 0 && bytes_.size() > 16 * step) bytes_ = std::vector<std::byte>(step);
  return std::span(bytes_).subspan(end_);
}

boost::system::result<std::optional<frame>> frame_assembler::next() noexcept {
  if (damage_) return damage_;
  if (end_ - begin_ < frame_header_bytes) return std::optional<frame>();
  const std::span<const std::byte> there(bytes_.data() + begin_, end_ - begin_);
  const auto header = decode_header(there, limits_);
  if (!header) return damage_ = header.error();
  if (there.size() - frame_header_bytes < header->length) return std::optional<frame>();
  begin_ += frame_header_bytes + static_cast<std::size_t>(header->length);
  return std::optional<frame>(
      frame{*header, there.subspan(frame_header_bytes, static_cast<std::size_t>(header->length))});
}

}  // namespace mp::wire
