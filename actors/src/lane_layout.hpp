#pragma once
/// @file
/// What a pool and one worker share beside their two pipes, drawn; and the records in the pipes.
///
///     pool's memory   bell page: the pool sleeps here until a worker has said something, or begins to die
///     each lane       page: what the worker is about, what the parent asks of it
///                     slots: one word a unit in flight
///                     draft: results of the unit under way that are not yet in the pipe
///     heap            large arguments, until their units are over; the workers read them there
///
/// A unit of number n lies in slot n % lane_slots, whose word is {n / lane_slots, begun, cut}. The worker claims each
/// item by adding one to `begun`; the parent takes back items that were not begun, from the unit's end, by a CAS that
/// moves `cut`. One word, so each item is the worker's or the parent's, never both's; and a worker that finds nothing
/// left is done with the unit. It moves the word to the next round when the unit's last result is out. Numbers are not
/// written anywhere: both sides count the records of the task pipe.
///
/// `progress` is {items done, bytes of the draft in use}, one word: results and their count are published together.
/// `draft_round` is odd while the draft begins anew, so that the parent can read the draft of a worker that lives.
///
/// Invariants: (1) items below `done` have their results in the pipe, or in the draft behind what is in the pipe; (2) if
/// more items are done than came through the pipe, the draft holds the difference, and begins with item `draft_first` of
/// unit `draft_unit`; (3) an item is claimed before a byte of it, or of its callable's state, is read; (4) a
/// unit's memory is used again when all its items have an answer, and none has one while a living worker has claimed it
/// and may still read.
///
/// Source:   doc/decisions/0009-pools.md, doc/decisions/0013-items-are-claimed.md.

#include "mp/codec.hpp"
#include "mp/detail/channel.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/pool_record.hpp"
#include "mp/detail/shared_block.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mp::detail {

inline constexpr std::uint32_t lane_slots = 512;  // a power of two: units in flight in one lane
// Lanes begin at multiples of 64 KiB, the largest page that Linux has.
inline constexpr std::size_t bell_bytes = 64 * 1024;
inline constexpr std::size_t lane_bytes = 64 * 1024;
inline constexpr std::size_t page_bytes = 8 * 1024;
inline constexpr std::size_t draft_bytes = lane_bytes - page_bytes;  // 14,000 results of 4 bytes
inline constexpr std::uint32_t most_lanes = 1024;                    // of one pool

/// How far a unit has come: a value of its slot.
struct slot_view {
  std::uint64_t word = 0;

  std::uint32_t round() const noexcept { return static_cast<std::uint32_t>(word >> 32); }
  /// Items that were claimed; one more if the worker found that there are none left.
  std::uint32_t begun() const noexcept { return static_cast<std::uint32_t>(word >> 16) & 0xffff; }
  /// Items at the end that were taken back.
  std::uint32_t cut() const noexcept { return static_cast<std::uint32_t>(word) & 0xffff; }
};
constexpr std::uint64_t slot_word(std::uint32_t number) noexcept { return std::uint64_t{number / lane_slots} << 32; }
inline constexpr std::uint64_t one_begun = 1u << 16;
// Of one unit: `begun` must not run over.
static_assert(most_items_of_unit < 0xffff);

/// {items done, bytes of the draft in use}
constexpr std::uint64_t progress_word(std::uint32_t done, std::size_t used) noexcept {
  return std::uint64_t{done} << 32 | static_cast<std::uint32_t>(used);
}
constexpr std::uint32_t done_of(std::uint64_t progress) noexcept { return static_cast<std::uint32_t>(progress >> 32); }
constexpr std::size_t used_of(std::uint64_t progress) noexcept { return static_cast<std::uint32_t>(progress); }

enum class worker_phase : std::uint32_t { starting, initialising, ready, no_memory };

/// The first page of the pool's memory.
struct bell_page {
  shared_bell bell;
  robust_futex lives[most_lanes];  // each held by the thread that runs a worker's tasks
};
static_assert(sizeof(bell_page) <= bell_bytes);

struct lane_page {
  // The worker writes.
  alignas(128) std::atomic<worker_phase> phase;
  std::atomic<std::uint32_t> unit;  // number of the last one that it has begun to look at, + 1
  std::atomic<std::uint64_t> progress;
  std::atomic<std::uint32_t> draft_round, draft_unit, draft_first;  // draft_unit: its number + 1; 0: none had one yet
  std::atomic<std::uint32_t> listening;  // number + 1 of the unit that has asked for its stop token
  std::atomic<std::int64_t> item_since;  // when the item began, where somebody watches; ns of the monotonic clock
  // Now and then; the parent reads it often, so it lies apart from what changes with every unit.
  alignas(128) std::atomic<std::uint64_t> unit_ns;  // how long a unit takes, about
  std::atomic<std::uint64_t> item_time;             // {function, how long an item of it takes}: item_time_of
  // The parent writes.
  alignas(128) std::atomic<std::uint32_t> stop_unit;  // number + 1 of the unit whose stop token is to trip
  shared_bell stop_bell;                              // the worker's watcher sleeps here
  // What the task says of itself: the worker writes, odd while it does.
  alignas(128) std::atomic<std::uint32_t> said;
  std::atomic<std::uint32_t> said_unit, said_item, said_bytes;
  std::atomic<std::uint64_t> said_done, said_total;
  std::atomic<char> said_text[256];

  alignas(128) std::atomic<std::uint64_t> slots[lane_slots];
};
static_assert(sizeof(lane_page) <= page_bytes);

// 24 bits of function, 40 of nanoseconds: 18 minutes.
constexpr std::uint64_t item_time_word(std::uint32_t function, std::uint64_t ns) noexcept {
  return std::uint64_t{function} << 40 | std::min(ns, (std::uint64_t{1} << 40) - 1);
}
constexpr std::uint32_t function_of_time(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 40); }
constexpr std::uint64_t ns_of_time(std::uint64_t word) noexcept { return word & ((std::uint64_t{1} << 40) - 1); }

constexpr std::size_t lane_offset(std::uint32_t lane) noexcept { return bell_bytes + lane * lane_bytes; }
inline constexpr std::uint64_t heap_offset = lane_offset(most_lanes);
inline constexpr std::uint64_t heap_bytes = std::uint64_t{1} << 42;  // of address space in a file
inline constexpr std::uint64_t pool_memory_bytes = heap_offset + heap_bytes;

/// One end of a lane's pipe, as it travels to the worker.
struct lane_end {
  handle end;
};
template <>
struct handle_codec<lane_end> {
  static constexpr std::uint64_t hash = hash_text("mp::lane_end");
  static void encode(encoder& e, const lane_end& l) { l.end.export_to(e, "lane"); }
  static lane_end decode(decoder& d) { return {handle::adopt(import_handle(d, hash))}; }
};

/// All that a worker is started with.
struct worker_start {
  std::uint32_t lane = 0;
  bool keeps_memory = false;  // what tasks have freed, for the next ones
  unique_fd memory{};
  lane_end tasks{}, results{};
  std::vector<std::byte> initializer{};
  std::vector<unique_fd> initializer_fds{};
};
/// What a worker runs until it is told to leave.
void pool_worker(worker_start start);

}  // namespace mp::detail
