#pragma once
/// @file
/// The log of a ring channel: small records in a circle of extents. The put side (holder of the put lock, or a pipe's
/// one writer) finds room and commits by storing `tail`; the get side reads what lies before `tail` and commits by
/// storing `head`. Nothing here waits.
///
/// Threads:  one putting and one getting thread at a time.   Processes: as memory.

#include "channel/ring_memory.hpp"

namespace mp::ring {

/// A place for one record, found by the put side. Nothing is visible before commit().
struct room {
  std::byte* at = nullptr;  // nullptr: the log is full
  u64 offset = 0;
};

class log_writer {
public:
  explicit log_writer(memory& m) noexcept : memory_(m) {}

  /// Where a record of `bytes` (header included, padded) may be written now. Throws error{out_of_resources}: pages
  /// could not be reserved; nothing has changed.
  room find(u64 bytes, u64 most_log_bytes);
  /// Where this offset is mapped; it must lie in the extent of the last find().
  std::byte* at(u64 offset) const noexcept { return cached_at_ + offset % extent_bytes; }
  /// Publishes what was written in front of `after`: the one store of a put.
  void commit(position after) noexcept { memory_.head().tail.store(after, std::memory_order_release); }
  /// Makes the derived lists (circle length, free extents) anew, after the last put side died inside.
  void rebuild();

private:
  room find_elsewhere(u64 offset, u64 most_log_bytes);
  bool grow(u32 after, u64 most_log_bytes);
  void shrink(u32 after, u32 reader) noexcept;

  memory& memory_;
  // The extent of the last find: saves the look-up for the next record. Only a hint, valid in every process.
  u32 cached_extent_ = ~0u;
  std::byte* cached_at_ = nullptr;
};

/// One record as the get side sees it. Checked: `payload` lies inside one extent.
struct record {
  record_header header;
  std::byte* payload = nullptr;
  fd_prefix fds{};
  position after = 0;  // what `head` becomes when it is taken
  bool new_extent = false;
};

class log_reader {
public:
  explicit log_reader(memory& m) noexcept : memory_(m) {}

  /// The record at `head`, which must be in front of `tail`. Throws error{bad_frame}: bytes that no writer of ours
  /// left.
  record at(position head);
  /// Where this offset is mapped, if it lies in the extent of the last at(); else nullptr.
  const std::byte* where(u64 offset) const noexcept {
    return offset / extent_bytes == cached_extent_ ? cached_at_ + offset % extent_bytes : nullptr;
  }

private:
  const std::byte* locate(u64 offset, u64 bytes);

  memory& memory_;
  u32 cached_extent_ = ~0u;
  std::byte* cached_at_ = nullptr;
};

}  // namespace mp::ring
