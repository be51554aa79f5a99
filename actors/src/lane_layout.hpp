#pragma once
/// @file
/// What a pool and one worker share beside their two pipes, drawn; and the records in the pipes.
///
///     pool's memory   bell page: the pool sleeps here until a worker has said something
///     each lane       page: what the worker is about, what the parent asks of it
///                     slots: one word a unit in flight
///                     draft: results of the unit under way that are not yet in the pipe
///
/// A unit of number n lies in slot n % lane_slots, whose word is {n / lane_slots, state}. One CAS decides between
/// "started" (worker) and "taken back" (parent); the worker moves the word to the next round when it is done with the
/// unit. Numbers are not written anywhere: both sides count the records of the task pipe.
///
/// Invariants: (1) items below `done` have their results in the pipe, or in the draft behind what is in the pipe; (2) if
/// more items are done than came through the pipe, the draft holds exactly the difference; (3) `started` is stored
/// before a byte of the item is read.
///
/// Source:   doc/decisions/0009-pools.md.

#include "mp/codec.hpp"
#include "mp/detail/channel.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/pool_record.hpp"
#include "mp/detail/shared_block.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mp::detail {

inline constexpr std::uint32_t lane_slots = 512;  // a power of two: units in flight in one lane
inline constexpr std::size_t page_bytes = 4096;
inline constexpr std::size_t draft_bytes = 64 * 1024;  // 16,000 results of 4 bytes
inline constexpr std::uint32_t most_lanes = 1024;      // of one pool

enum class slot_state : std::uint32_t { queued, started, taken };
constexpr std::uint32_t slot_word(std::uint32_t number, slot_state s) noexcept {
  return number / lane_slots << 2 | static_cast<std::uint32_t>(s);
}

enum class worker_phase : std::uint32_t { starting, initialising, ready };

struct lane_page {
  // The worker writes.
  alignas(128) std::atomic<worker_phase> phase;
  std::atomic<std::uint32_t> unit;     // number of the last one that was claimed, + 1
  std::atomic<std::uint32_t> started;  // its items that were begun
  std::atomic<std::uint32_t> done;     // its items whose results lie outside
  std::atomic<std::uint32_t> draft_used;
  std::atomic<std::int64_t> item_since;  // when the item began, where somebody watches; ns of the monotonic clock
  std::atomic<std::uint32_t> listening;  // number + 1 of the unit that has asked for its stop token
  // Now and then; the parent reads it often, so it lies apart from what changes with every unit.
  alignas(128) std::atomic<std::uint64_t> unit_ns;  // how long a unit takes, about
  std::atomic<std::uint64_t> item_ns;               // and an item
  // The parent writes.
  alignas(128) std::atomic<std::uint32_t> stop_unit;  // number + 1 of the unit whose stop token is to trip
  shared_bell stop_bell;                              // the worker's watcher sleeps here
  // What the task says of itself: the worker writes, odd while it does.
  alignas(128) std::atomic<std::uint32_t> said;
  std::atomic<std::uint32_t> said_unit, said_item, said_bytes;
  std::atomic<std::uint64_t> said_done, said_total;
  std::atomic<char> said_text[256];

  alignas(128) std::atomic<std::uint32_t> slots[lane_slots];
};
static_assert(sizeof(lane_page) <= page_bytes);

inline constexpr std::size_t bell_bytes = page_bytes;
inline constexpr std::size_t lane_bytes = page_bytes + draft_bytes;
constexpr std::size_t lane_offset(std::uint32_t lane) noexcept { return bell_bytes + lane * lane_bytes; }
inline constexpr std::size_t pool_memory_bytes = lane_offset(most_lanes);

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
