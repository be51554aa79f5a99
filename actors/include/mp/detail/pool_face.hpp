#pragma once
/// @file
/// What the typed calls of a pool ask of its core, which is compiled once.
/// Not for users: `pool` is their way in.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/pool_job.hpp"
#include "mp/duration.hpp"
#include "mp/pool_options.hpp"
#include "mp/verdict.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace mp::detail {

/// A pool's core: outlives the pool as long as futures know it.
using core_ptr = std::shared_ptr<pool_core>;

/// How a call with `chunk` and `look_ahead` feeds its items.
struct feed_plan {
  std::uint64_t chunk = 0;   ///< 0: measured
  std::uint64_t window = 0;  ///< items that may be under way; 0: what the lanes take
};

/// Starts all workers. Throws: error{invalid_argument}; as process::start.
core_ptr make_pool_core(pool_options options);

/// Hands a unit of a job to the pool; `wait`: until max_queued lets it. False: full. Then, and if it throws, the unit is
/// still the caller's. Throws: error{pool_closed}, error{pool_broken}, error{would_deadlock}.
bool submit_unit(pool_core&, pool_unit& unit, bool wait);
/// Throws as submit_unit, if a unit could not be submitted now.
void check_open(pool_core&);
/// Collects results on the calling thread until `is_done(context)`, asked with the pool's lock held. False: time is up.
bool collect_until(pool_core&, bool (*is_done)(void*), void* context, time_point until);
enum class fed {
  done,  ///< is_done said so
  all,   ///< the feeder has no more, and everything has its answer
  timed_out
};
/// The same, and feeds: `feeder` is asked for more while the plan and the lanes have room.
fed feed_until(pool_core&, pool_job& job, pool_feeder& feeder, const feed_plan& plan, bool (*is_done)(void*),
               void* context, time_point until);
/// Cuts all of a feeder into units of the backlog. Throws as check_open.
void feed_all(pool_core&, pool_feeder& feeder, const feed_plan& plan);
/// Ends what is not done. False: all of it is.
bool cancel_job(pool_core&, pool_job& job) noexcept;
/// Somebody hears of the job's answer by a hook: the I/O thread has to look.
void attend_pool(pool_core&) noexcept;
std::optional<progress_report> progress_of(pool_core&, pool_unit& unit);
std::uint64_t next_task_ids(pool_core&, std::uint64_t count) noexcept;
/// The names of the options that `o` gets wrong. Throws: error{invalid_argument}.
void check_task_options(const task_options& o);
/// Runs f with the pool's lock held.
void with_pool_lock(pool_core&, void (*f)(void*), void* context);

std::ptrdiff_t worker_count(pool_core&) noexcept;
/// One unit for each present worker, in their order; each runs on that worker.
void submit_to_each(pool_core&, const std::vector<pool_unit*>& units);

void close_pool(pool_core&) noexcept;
void terminate_pool(pool_core&) noexcept;
bool join_pool(pool_core&, time_point until);
verdict drain_pool(pool_core&, duration limit);
void resize_pool(pool_core&, std::ptrdiff_t workers);
pool_stats stats_of(pool_core&);
std::vector<dead_letter> letters_of(pool_core&);
/// terminate and join, bounded; on the I/O thread without waiting.
void abandon_pool(core_ptr core) noexcept;

/// A unit's bytes begin with the room for its record.
void begin_unit(pool_core&, pool_job& job, pool_unit& unit);

}  // namespace mp::detail
