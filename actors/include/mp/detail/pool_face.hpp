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

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace mp::detail {

/// How many know a pool's core: its pool and its calls.
struct core_share {
  explicit core_share(std::shared_ptr<pool_core> of) noexcept : core(std::move(of)) {}
  std::atomic<std::uint32_t> refs{1};
  const std::shared_ptr<pool_core> core;
};

/// A pool's core, which outlives the pool as long as futures know it. One word, because each task has one.
///
/// Threads:  as std::shared_ptr.   Processes: process-bound.
class core_ptr {
public:
  core_ptr() noexcept = default;
  explicit core_ptr(std::shared_ptr<pool_core> core) : share_(new core_share(std::move(core))) {}
  core_ptr(const core_ptr& other) noexcept : share_(other.share_) {
    if (share_) share_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  core_ptr(core_ptr&& other) noexcept : share_(std::exchange(other.share_, nullptr)) {}
  core_ptr& operator=(core_ptr other) noexcept {
    std::swap(share_, other.share_);
    return *this;
  }
  ~core_ptr() {
    if (share_ && share_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete share_;
  }
  pool_core& operator*() const noexcept { return *share_->core; }
  pool_core* operator->() const noexcept { return share_->core.get(); }
  explicit operator bool() const noexcept { return share_ != nullptr; }

private:
  core_share* share_ = nullptr;
};

/// How a call with `chunk` and `look_ahead` feeds its items.
struct feed_plan {
  std::uint64_t chunk = 0;   ///< 0: measured
  std::uint64_t window = 0;  ///< items that may be under way; 0: what the lanes take
  bool adapts = false;       ///< the window shrinks while large arguments fill the memory that is kept
  bool alone = false;        ///< each item is a unit: where its result ends is known to its reader only
};

/// Starts all workers. Throws: error{invalid_argument}; as process::start.
core_ptr make_pool_core(pool_options options);

/// The number of a function in this pool: what jobs keep.
std::uint32_t register_function(pool_core&, const unit_function& f);
/// Hands a unit of a job that runs `f` to the pool; `wait`: until max_queued lets it. False: full. Then, and if it
/// throws, the unit is still the caller's. Throws: error{pool_closed}, error{pool_broken}, error{would_deadlock}.
bool submit_unit(pool_core&, pool_unit& unit, const unit_function& f, bool wait);
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
void feed_all(pool_core&, pool_job& job, pool_feeder& feeder, const feed_plan& plan);
/// Why a job whose input has items left got no more of them: pool_broken, pool_closed, or, if `stop` counts, cancelled.
std::exception_ptr why_unfed(pool_core&, pool_job& job, bool stop);
/// Ends what is not done. False: all of it is.
bool cancel_job(pool_core&, pool_job& job) noexcept;
/// Somebody hears of the job's answer by a hook: the I/O thread has to look.
void attend_pool(pool_core&) noexcept;
/// What the job's task under way has said last.
std::optional<progress_report> progress_of(pool_core&, pool_job& job);
/// The names of the options that `o` gets wrong. Throws: error{invalid_argument}.
void check_task_options(const task_options& o);
/// Runs f with the pool's lock held; not at all in a copy of the process made by fork.
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

/// Where large arguments lie.
shared_heap& heap_of(pool_core&) noexcept;
/// A unit's bytes begin with what few tasks have: deadline, key.
void begin_unit(pool_core&, pool_job& job, pool_unit& unit);

}  // namespace mp::detail
