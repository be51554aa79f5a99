// Input that is read as it is needed: how much of it goes in, where it goes, and what becomes of what is not taken. Must
// run no user code under the lock: feeders are asked without it.

#include "pool_core.hpp"

#include "mp/error.hpp"
#include "pool_policy.hpp"

#include <algorithm>
#include <array>
#include <atomic>

namespace mp::detail {

fed pool_core::feed_until(pool_job& job, pool_feeder& feeder, const feed_plan& plan, bool (*is_done)(void*),
                          void* context, time_point until) {
  constexpr std::uint32_t most_units = 32;  // made without the lock, then put together
  // Idle workers get fresh units while there are some.
  struct feeding {
    std::atomic<int>* feeders = nullptr;
    void set(std::atomic<int>* to) noexcept {
      if (feeders) --*feeders;
      if (to) ++*to;
      feeders = to;
    }
    ~feeding() { set(nullptr); }
  } feeds;
  for (bool dry = false;;) {
    feeds.set(dry ? nullptr : &feeders_);
    std::uint32_t units = 0, chunk = 1;
    {
      const locked lock(*this);
      collect();
      if (is_done(context)) return fed::done;
      if (closed_ || broken_ || job.stop_asked) dry = true;
      if (dry && job.unresolved == 0) return fed::all;
      const auto seats = static_cast<std::uint64_t>(workers());
      chunk = plan.alone ? 1 : next_chunk(plan.chunk, known_ns(plan, job), feeder.left(), seats);
      std::uint64_t may = UINT64_MAX;
      if (plan.window != 0) {
        const std::uint64_t window = window_of(plan);
        may = window - std::min(window, job.ahead());
        const std::uint64_t least = plan.alone ? 1 : std::clamp<std::uint64_t>(plan.chunk, 1, most_items_of_unit);
        chunk = static_cast<std::uint32_t>(std::max(least, std::min<std::uint64_t>(chunk, window / (2 * seats))));
      }
      if (!dry && !has_queued()) units = feed_room(may / chunk, most_units, job.unresolved == 0, time_of(job, chunk));
      // Behind what others have queued, one at a time: else it would have to wait until they have nothing left.
      if (!dry && units == 0 && job.unresolved == 0) units = 1;
    }
    if (units == 0) {
      struct {
        bool (*is_done)(void*);
        void* context;
        pool_core& core;
        pool_job& job;
        const feed_plan& plan;
        std::uint64_t chunk;
        bool dry, woken;
      } w{is_done, context, *this, job, plan, chunk, dry, false};
      // Until it is done, or there is room for more.
      if (!collect_until(
              [](void* p) {
                auto& in = *static_cast<decltype(w)*>(p);
                if (in.is_done(in.context)) return in.woken = true;
                if (in.job.unresolved == 0) return true;
                if (in.dry) return false;
                if (in.core.closed_ || in.core.broken_ || in.job.stop_asked) return true;
                if (in.plan.window != 0 && in.job.ahead() + in.chunk > in.core.window_of(in.plan)) return false;
                return !in.core.has_queued() && in.core.feed_room(1, 1, false, in.core.time_of(in.job, in.chunk)) != 0;
              },
              &w, until))
        return fed::timed_out;
      if (w.woken) return fed::done;
      continue;
    }
    std::array<pool_unit*, most_units> made{};
    std::uint32_t n = 0;
    const auto hand_over = [&] {
      const locked lock(*this);
      for (std::uint32_t i = 0; i < n; ++i) take_in(*made[i]);
      n = 0;
      if (has_queued()) feed_lanes();
      want_tick();
    };
    for (std::uint32_t all = 0; all < units && !dry; ++all) {
      pool_unit* const u = feeder.next(chunk);
      dry = !u;
      if (dry) break;
      made[n++] = u;
      if (!u->bytes.shared()) continue;
      // A worker may begin with what is large before the next is copied.
      hand_over();
      if (heap_->is_used_up()) break;
    }
    hand_over();
  }
}

// Locked. How many items may be under way now. Where nobody has said how many, large ones are no more than lie in memory that was
// used before: fresh memory costs more than what is gained by looking further ahead.
std::uint64_t pool_core::window_of(const feed_plan& plan) const noexcept {
  if (!plan.adapts || !heap_->is_used_up()) return plan.window;
  return std::min(plan.window, 2 * static_cast<std::uint64_t>(workers()) * std::max<std::uint64_t>(plan.chunk, 1));
}

// Locked. How many units of a feeder that take `ns` each go in now, at most `most`. `first`: one may wait for the first worker.
std::uint32_t pool_core::feed_room(std::uint64_t wanted, std::uint32_t most, bool first, std::uint64_t ns) noexcept {
  std::uint32_t rooms = 0;
  for (seat& s : seats_)
    if (s.lane) rooms += room(*s.lane, ns);
  if (rooms == 0 && first) rooms = 1;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>({rooms, wanted, most}));
}

// How long an item takes, for the choice of chunks. A worker that may run only so many tasks is given chunks of a given
// size one by one.
std::uint64_t pool_core::known_ns(const feed_plan& plan, const pool_job& job) const noexcept {
  return plan.chunk != 0 && options_.max_tasks_per_worker > 0 ? 0 : function_ns_[job.function];
}

// Locked. A feeder's unit: to a lane, to the backlog, or to its end.
void pool_core::take_in(pool_unit& u) noexcept {
  pool_job& job = *u.job;
  u.id = next_ids(u.count);
  expect(job, u.count);
  if (closed_ || broken_ || job.stop_asked) {
    std::exception_ptr problem;
    try {
      if (broken_)
        problem = std::make_exception_ptr(error(errc::pool_broken, broken_why_));
      else if (job.stop_asked || terminated_)
        problem = std::make_exception_ptr(error(errc::cancelled, "the task was cancelled before it began"));
      else
        problem = std::make_exception_ptr(error(errc::pool_closed, options_.name + " was closed"));
    } catch (...) {
      problem = std::current_exception();
    }
    fail_unit(u, problem);
    return;
  }
  pool_lane* const lane = has_queued() ? nullptr : best_lane(time_of(job, u.count));
  if (!lane || !dispatch(*lane, u)) enqueue(u);
}

}  // namespace mp::detail
