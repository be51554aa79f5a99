#pragma once
/// @file
/// What a pool decides: pure functions, with the time and the chance as arguments.
///
/// Threads:  free functions and values.   Processes: any.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/pool_record.hpp"
#include "mp/duration.hpp"
#include "mp/error.hpp"
#include "mp/failure.hpp"
#include "mp/pool_options.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace mp::detail {

/// Work that may wait in front of a worker: about two wake-ups. More would be lost to idle neighbours.
inline constexpr std::uint64_t prefetch_ns = 50'000;
/// Above this a worker is not given a second unit before it is done with the first: the pause in between is nothing.
inline constexpr std::uint64_t long_unit_ns = 5'000'000;
/// What a chunk should take, where its size is ours to choose.
inline constexpr std::uint64_t chunk_ns = 300'000;

/// Nobody knows how long a unit takes: it may be long.
inline constexpr std::uint64_t unknown_ns = long_unit_ns;
/// What several small chunks that travel together should take at most.
inline constexpr std::uint64_t bundle_ns = 12'500;
/// Work that is worth the wake-up of an idle worker at once; less is given to it if it still waits after a while.
inline constexpr std::uint64_t worth_moving_ns = 20'000;

/// How many more units of `ns` each a lane may take, if what is in flight there takes `ahead_ns`.
constexpr std::uint32_t more_in_flight(std::uint64_t ahead_ns, bool idle, std::uint64_t ns,
                                       std::uint32_t slots) noexcept {
  if (ns >= long_unit_ns) return idle ? 1 : 0;
  const std::uint64_t each = std::max<std::uint64_t>(ns, 1), most = prefetch_ns + each;
  return ahead_ns > most ? 0 : static_cast<std::uint32_t>(std::min<std::uint64_t>((most - ahead_ns) / each + 1, slots));
}

/// How many items the next unit of a map gets. `given`: by the user, 0: measured. `item_ns`: 0 if nothing is known of the
/// function. `left`: items that are not given out yet, the largest number if nobody knows. Small chunks of a given size
/// travel together: each item is claimed on its own, so that nothing is decided by that but what a message costs.
constexpr std::uint32_t next_chunk(std::uint64_t given, std::uint64_t item_ns, std::uint64_t left,
                                   std::uint64_t workers) noexcept {
  constexpr std::uint64_t most = most_items_of_unit;
  if (given != 0) {
    given = std::min(given, most);
    if (item_ns == 0) return static_cast<std::uint32_t>(given);
    const std::uint64_t by_time = bundle_ns / (item_ns * given),
                        by_share = left == UINT64_MAX ? most : left / workers / 4;
    return static_cast<std::uint32_t>(given *
                                      std::max<std::uint64_t>(std::min({by_time, by_share / given, most / given}), 1));
  }
  if (item_ns == 0) return 1;
  const std::uint64_t by_time = std::max<std::uint64_t>(chunk_ns / item_ns, 1);
  // The last ones are small, so that all workers end together.
  const std::uint64_t by_share = left == UINT64_MAX ? most : std::max<std::uint64_t>(left / (4 * workers), 1);
  return static_cast<std::uint32_t>(std::min({by_time, by_share, most}));
}

/// Was nothing said of retries?
constexpr bool is_default(const retry& r) noexcept { return r.attempts == 1 && !r.idempotent; }

/// What becomes of an item whose worker died when it had begun.
enum class casualty {
  retry,   ///< it runs again, after a pause
  died,    ///< worker_died
  poison,  ///< task_poisoned: it has ended as many workers as it may
  late,    ///< deadline_exceeded
  cancelled
};
/// `attempts`: how often it was started, this time included.
constexpr casualty after_death(death why, std::ptrdiff_t attempts, const retry& r, bool stop_asked) noexcept {
  if (why == death::cancelled || stop_asked) return casualty::cancelled;
  if (r.idempotent && attempts < r.attempts) return casualty::retry;
  if (why == death::deadline) return casualty::late;
  return r.attempts > 1 ? casualty::poison : casualty::died;
}
constexpr errc code_of(casualty c) noexcept {
  switch (c) {
    case casualty::poison: return errc::task_poisoned;
    case casualty::late: return errc::deadline_exceeded;
    case casualty::cancelled: return errc::cancelled;
    case casualty::retry:
    case casualty::died: break;
  }
  return errc::worker_died;
}

/// Does a worker's end count against the restart budget? One that ends in a task, or was told to leave, does not.
constexpr bool counts_as_failure(bool in_task, bool told_to_leave) noexcept { return !in_task && !told_to_leave; }

}  // namespace mp::detail
