// Mapping and reserving. Must never touch a page that is not reserved: tmpfs answers a full memory by SIGBUS.

#include "channel/ring_memory.hpp"

#include "mp/error.hpp"

#include <algorithm>
#include <bit>
#include <string>

namespace mp::ring {
namespace {

constexpr u64 round_up(u64 n, u64 to) { return (n + to - 1) / to * to; }

}  // namespace

void damaged(control& c, const char* what) {
  c.poisoned.store(1, std::memory_order_relaxed);
  detail::throw_error(errc::bad_frame, std::string("the shared memory of a channel was overwritten: ") + what +
                                           "; the channel is of no use any more, others are not affected");
}

memory::memory(unique_fd fd, bool create) : fd_(std::move(fd)) {
  if (create) {
    reserve(control_offset, participants_offset + page_bytes);  // control, the first participants
    reserve(next_offset, page_bytes);                           // the first links
    reserve(log_offset, base_extents * extent_bytes);
  } else {
    os::check_memfd(fd_.get(), file_bytes);
  }
  control_map_ = os::mapping(fd_.get(), control_offset, control_bytes);
  control_ = reinterpret_cast<control*>(control_map_.data());
  participants_ = reinterpret_cast<participant*>(control_map_.data() + participants_offset);
  next_ = reinterpret_cast<std::atomic<u32>*>(control_map_.data() + next_offset);
  bodies_map_ = os::mapping(fd_.get(), body_table_offset, max_bodies * sizeof(body_entry));
  bodies_ = reinterpret_cast<body_entry*>(bodies_map_.data());
  cells_map_ = os::mapping(fd_.get(), hands_offset, max_cells * cell_bytes);
  cells_ = reinterpret_cast<hand_cell*>(cells_map_.data());
  if (!create && (control_->magic != control_magic || control_->version != 1))
    detail::throw_error(errc::bad_frame, "a handle arrived whose memory is no channel of this version");
}

void memory::reserve(u64 offset, u64 bytes) {
  const u64 from = offset / page_bytes * page_bytes;
  if (const int err = os::reserve_pages(fd(), from, round_up(offset + bytes, page_bytes) - from))
    detail::throw_system_error(errc::out_of_resources,
                               "cannot reserve " + std::to_string(bytes) + " bytes of shared memory", err);
}

std::byte* memory::map_once(std::atomic<std::byte*>& where, u64 offset, u64 bytes) {
  if (std::byte* at = where.load(std::memory_order_acquire)) return at;
  const std::lock_guard lock(mutex_);
  if (std::byte* at = where.load(std::memory_order_relaxed)) return at;
  std::byte* at = maps_.emplace_back(fd(), offset, bytes).data();
  where.store(at, std::memory_order_release);
  return at;
}

std::byte* memory::extent(u32 index) {
  // Segments double, so that 65,536 extents take 15 mappings and a small queue takes one.
  const auto segment = static_cast<u32>(std::bit_width(index / base_extents));
  const u32 first = segment == 0 ? 0 : base_extents << (segment - 1);
  const u32 extents = segment == 0 ? base_extents : first;
  std::byte* at = map_once(segments_[segment], log_offset + first * extent_bytes, extents * extent_bytes);
  return at + (index - first) * extent_bytes;
}

std::byte* memory::body_bytes(const body_entry& entry) {
  // Small bodies are mapped by chunks of 4 MiB: the kernel allows 65,530 mappings a process.
  const u64 offset = body_offset(entry.body_class(), entry.index());
  const u64 chunk = std::max(u64{4} << 20, u64{1} << entry.body_class());
  const u64 base = offset / chunk * chunk;
  const std::lock_guard lock(mutex_);
  auto [it, fresh] = body_maps_.try_emplace(base);
  if (fresh) {
    try {
      it->second = os::mapping(fd(), base, chunk);
    } catch (...) {
      body_maps_.erase(it);
      throw;
    }
  }
  return it->second.data() + (offset - base);
}

}  // namespace mp::ring
