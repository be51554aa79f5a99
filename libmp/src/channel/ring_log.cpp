// Extents in a circle. Must commit by one store: everything before it is invisible, everything after it is done.

#include "channel/ring_log.hpp"

#include "mp/error.hpp"

#include <bitset>
#include <cstring>

namespace mp::ring {

room log_writer::find(u64 bytes, u64 most_log_bytes) {
  const u64 offset = offset_of(memory_.head().tail.load(std::memory_order_relaxed));
  const u64 inside = offset % extent_bytes;
  if (inside + bytes + sizeof(record_header) > extent_bytes) [[unlikely]]
    return find_elsewhere(offset, most_log_bytes);
  const u32 extent = static_cast<u32>(offset / extent_bytes);
  if (extent != cached_extent_) [[unlikely]] {
    if (extent >= memory_.extents()) damaged(memory_.head(), "its write position is out of range");
    cached_at_ = memory_.extent(extent);
    cached_extent_ = extent;
  }
  return {cached_at_ + inside, offset};
}

// The record does not fit in front of the extent's end: go on in the next extent of the circle, or in a new one.
room log_writer::find_elsewhere(u64 offset, u64 most_log_bytes) {
  control& c = memory_.head();
  const u32 here = static_cast<u32>(offset / extent_bytes);
  if (here >= memory_.extents()) damaged(c, "its write position is out of range");
  // Acquire: what the reader copied out of the extents behind it is done (pairs with its store of head).
  const u32 reader = extent_of(c.head.load(std::memory_order_acquire));
  u32 next = memory_.next(here).load(std::memory_order_relaxed);
  if (next == reader) {
    if (!grow(here, most_log_bytes)) return {};
    next = memory_.next(here).load(std::memory_order_relaxed);
  } else if (reader == here && c.circle_extents > base_extents) {
    shrink(here, reader);
    next = memory_.next(here).load(std::memory_order_relaxed);
  }
  if (next >= memory_.extents()) damaged(c, "a link of its log is out of range");
  // Not visible before the commit of the record behind it: `tail` still stands here.
  const record_header jump{next, record_kind::jump, 0, record_mark};
  std::memcpy(memory_.extent(here) + offset % extent_bytes, &jump, sizeof jump);
  cached_at_ = memory_.extent(next);
  cached_extent_ = next;
  return {cached_at_, next * extent_bytes};
}

bool log_writer::grow(u32 after, u64 most_log_bytes) {
  control& c = memory_.head();
  if ((c.circle_extents + 1) * extent_bytes > most_log_bytes) return false;
  u32 fresh;
  if (c.free_extent != 0) {
    fresh = c.free_extent - 1;
    if (fresh >= memory_.extents()) damaged(c, "a link of its free memory is out of range");
    memory_.reserve(log_offset + fresh * extent_bytes, extent_bytes);
    c.free_extent = memory_.next(fresh).load(std::memory_order_relaxed);
  } else {
    if (c.extents_used >= max_extents) return false;
    fresh = c.extents_used;
    memory_.reserve(log_offset + fresh * extent_bytes, extent_bytes);
    if (fresh % (page_bytes / sizeof(u32)) == 0) memory_.reserve(next_offset + fresh * sizeof(u32), sizeof(u32));
    c.extents_used = fresh + 1;
  }
  // Killed between here and the link below: the extent is in no list; rebuild() finds it.
  memory_.next(fresh).store(memory_.next(after).load(std::memory_order_relaxed), std::memory_order_relaxed);
  memory_.next(after).store(fresh, std::memory_order_release);
  ++c.circle_extents;
  return true;
}

// The backlog fits into one extent again: take one drained extent out of the circle, so that a burst's memory goes back
// and the circle stays in the nearest caches.
void log_writer::shrink(u32 after, u32 reader) noexcept {
  control& c = memory_.head();
  const u32 victim = memory_.next(after).load(std::memory_order_relaxed);
  if (victim >= memory_.extents() || victim == reader || victim < base_extents) return;
  memory_.next(after).store(memory_.next(victim).load(std::memory_order_relaxed), std::memory_order_release);
  --c.circle_extents;
  memory_.release(log_offset + victim * extent_bytes, extent_bytes);
  memory_.next(victim).store(c.free_extent, std::memory_order_relaxed);
  c.free_extent = victim + 1;
}

void log_writer::rebuild() {
  control& c = memory_.head();
  const u32 extents = memory_.extents();
  std::bitset<max_extents> in_circle;  // 8 KiB, no allocation that could fail
  const u32 start = extent_of(c.tail.load(std::memory_order_relaxed));
  u32 length = 0;
  for (u32 at = start; at < extents && !in_circle[at]; at = memory_.next(at).load(std::memory_order_relaxed)) {
    in_circle[at] = true;
    ++length;
  }
  c.circle_extents = length;
  c.free_extent = 0;
  for (u32 extent = 0; extent < extents; ++extent) {
    if (in_circle[extent]) continue;
    memory_.next(extent).store(c.free_extent, std::memory_order_relaxed);
    c.free_extent = extent + 1;
  }
}

const std::byte* log_reader::locate(u64 offset, u64 bytes) {
  const u64 inside = offset % extent_bytes;
  const u32 extent = static_cast<u32>(offset / extent_bytes);
  if (extent != cached_extent_) {
    if (extent >= max_extents) damaged(memory_.head(), "its read position is out of range");
    cached_at_ = memory_.extent(extent);
    cached_extent_ = extent;
  }
  if (inside + bytes > extent_bytes) damaged(memory_.head(), "a record reaches beyond its extent");
  return cached_at_ + inside;
}

record log_reader::at(position head) {
  u64 offset = offset_of(head);
  record r;
  // Copied once, then checked: another process may write to these bytes.
  std::memcpy(&r.header, locate(offset, sizeof r.header), sizeof r.header);
  if (r.header.kind == record_kind::jump && r.header.mark == record_mark) {
    offset = r.header.size * extent_bytes;
    r.new_extent = true;
    std::memcpy(&r.header, locate(offset, sizeof r.header), sizeof r.header);
  }
  if (r.header.mark != record_mark) damaged(memory_.head(), "a record has no mark");
  u64 payload;
  if (r.header.kind == record_kind::small && r.header.size <= inline_most)
    payload = r.header.size;
  else if (r.header.kind == record_kind::body)
    payload = sizeof(body_ref);
  else
    damaged(memory_.head(), "a record has no known kind");
  u64 front = sizeof r.header;
  if (r.header.flags & with_fds) {
    std::memcpy(&r.fds, locate(offset + front, sizeof r.fds), sizeof r.fds);
    front += sizeof r.fds;
  }
  r.payload = const_cast<std::byte*>(locate(offset, front + padded(payload))) + front;
  r.after = make_position(offset + front + padded(payload), count_of(head) + 1);
  return r;
}

}  // namespace mp::ring
