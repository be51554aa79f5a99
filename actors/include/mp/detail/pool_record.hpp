#pragma once
/// @file
/// The records in the two pipes between a pool and a worker.
/// Not for users: `pool` is their way in.
///
/// Shape:    a record, then a unit's bytes: deadline and key if it has them, the callable's state, the items. Where those
///           are many they lie in the pool's memory, and a shared_place stands for state and items.
/// Threads:  values.                 Processes: the same build on both sides.
/// Source:   doc/decisions/0009-pools.md.

#include <cstdint>

namespace mp::detail {

enum class record_is : std::uint16_t {
  function,  // to the worker: number of a function, then where it is (call_target, has pointer, call_target)
  unit,      // items to run
  leave,     // end in order
  values,    // from the worker: results of items, back to back
  failed     // an item's exception, or what all that are left of a unit have in common
};

/// How many items a unit may have.
inline constexpr std::uint32_t most_items_of_unit = 0xfff0;

/// In front of what goes to a worker.
struct task_record {
  record_is kind{};
  std::uint16_t flags = 0;
  std::uint32_t function = 0;
  std::uint64_t id = 0;  ///< of the first item
  std::uint32_t count = 0;
  std::uint32_t attempt = 0;

  static constexpr std::uint16_t watched = 1;   ///< the parent wants to know when each item begins
  static constexpr std::uint16_t has_more = 2;  ///< task_more follows
  static constexpr std::uint16_t shared = 4;    ///< a shared_place follows
  static constexpr std::uint16_t writes = 8;  ///< shared: its items write into their arguments, which nobody else reads
};
/// What few units have: then the key.
struct task_more {
  std::int64_t deadline_ns = 0;  ///< of each attempt, from its start; 0: none
  std::int64_t moment_ns = 0;    ///< of the task, on the monotonic clock; 0: none
  std::uint32_t key_bytes = 0;
  std::uint32_t unused = 0;
};

/// Where the rest of a large unit lies. Its task_more and key travel all the same: the worker reads them before it has
/// claimed an item, when the pool may take the unit back and use its memory for another.
struct shared_place {
  std::uint64_t offset = 0;  ///< in the pool's memory; a whole page
  std::uint32_t skip = 0;    ///< bytes there in front of the state: task_more and key once more
  std::uint32_t bytes = 0;   ///< behind them
};

/// In front of what comes from a worker.
struct result_record {
  record_is kind{};
  std::uint16_t flags = 0;
  std::uint32_t unit = 0;  ///< its number in the lane
  std::uint32_t first = 0, count = 0;

  static constexpr std::uint16_t rest_unread = 1;  ///< failed: the items behind it could not be found in the bytes
  static constexpr std::uint16_t all_left = 2;     ///< failed: and so have all behind it, for the same reason
  static constexpr std::uint16_t is_place = 4;     ///< values: one, which stays in its unit's bytes; see place_message
};
/// Where a result lies that stayed in the pool's memory.
struct result_place {
  std::uint32_t skip = 0;   ///< bytes of the unit in front of it
  std::uint32_t bytes = 0;  ///< its elements
};
struct place_message {
  result_record record{};
  result_place place{};
};

}  // namespace mp::detail
