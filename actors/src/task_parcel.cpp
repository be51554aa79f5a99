// Units on their way. Must not make the worker read a byte of the heap before it has claimed an item: until then the
// pool may use that memory for another unit.

#include "task_parcel.hpp"

#include <cstring>

namespace mp::detail {

task_parcel::task_parcel(const task_record& record, const unit_bytes& bytes) noexcept
    : record_(record), rest_(bytes.view()) {
  // A unit that was large once, and is small now, is no reason to make a worker look into the heap.
  if (!bytes.shared() || rest_.size() < shared_piece_least / 2) return;
  std::size_t more_bytes = 0;
  if (record.flags & task_record::has_more) {
    task_more more;
    std::memcpy(&more, rest_.data(), sizeof more);
    more_bytes = sizeof more + more.key_bytes;
  }
  record_.flags = static_cast<std::uint16_t>(record.flags | task_record::shared);
  place_ = {bytes.shared()->offset, static_cast<std::uint32_t>(more_bytes),
            static_cast<std::uint32_t>(rest_.size() - more_bytes)};
  rest_ = rest_.first(more_bytes);
}

void task_parcel::fill(std::span<std::byte> at) const noexcept {
  std::byte* to = at.data();
  const auto write = [&to](const void* from, std::size_t n) {
    if (n != 0) std::memcpy(to, from, n);
    to += n;
  };
  write(&record_, sizeof record_);
  if (record_.flags & task_record::shared) write(&place_, sizeof place_);
  write(rest_.data(), rest_.size());
}

outgoing task_parcel::pack() noexcept {
  outgoing out;
  out.size = sizeof record_ + (record_.flags & task_record::shared ? sizeof place_ : 0) + rest_.size();
  if (out.size <= small) {
    fill(room_);
    out.bytes = std::span<const std::byte>(room_.data(), out.size);
  } else {
    out.context = this;
    out.write = [](void* p, std::span<std::byte> at) { static_cast<const task_parcel*>(p)->fill(at); };
  }
  return out;
}

unit_parts open_unit(const task_record& record, std::span<const std::byte> behind, shared_windows* heap) {
  unit_parts parts;
  const auto take = [&behind](void* into, std::size_t n) {
    std::memcpy(into, behind.data(), n);
    behind = behind.subspan(n);
  };
  shared_place place;
  if (record.flags & task_record::shared) take(&place, sizeof place);
  if (record.flags & task_record::has_more) {
    take(&parts.more, sizeof parts.more);
    parts.key = {reinterpret_cast<const char*>(behind.data()), parts.more.key_bytes};
    behind = behind.subspan(parts.more.key_bytes);
  }
  if ((record.flags & task_record::shared) == 0) {
    parts.rest = behind;
  } else if (heap) {
    parts.large =
        heap->look(place.offset, std::size_t{place.skip} + place.bytes, (record.flags & task_record::writes) != 0);
    parts.rest = parts.large.subspan(place.skip);
  }
  return parts;
}

}  // namespace mp::detail
