// Answers. "Pop and record" is one step under the lock: a result that left the pipe is known to its job before anybody
// else looks. Must take an answer once, whatever becomes of the worker later.

#include "pool_core.hpp"

#include "mp/error.hpp"
#include "mp/remote_error.hpp"
#include "pool_policy.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace mp::detail {

void pool_core::locked::release() noexcept {
  if (!lock_.owns_lock()) return;
  pool_job* job = nullptr;  // in the order in which they were finished
  for (pool_job* newest = std::exchange(core_.finished_, nullptr); newest;) {
    pool_job* const older = std::exchange(newest->next_finished, job);
    job = std::exchange(newest, older);
  }
  std::vector<std::function<void()>> callbacks;
  callbacks.swap(core_.callbacks_);
  core_.callbacks_open_ += callbacks.size();
  std::vector<std::uint32_t> starts;
  starts.swap(core_.starts_);
  std::shared_ptr<pool_core> last;  // goes when this does, not under the lock
  if (core_.self_ && core_.is_over()) last = std::move(core_.self_);
  const bool wake = std::exchange(core_.news_, false) && core_.collectors_ > others_;
  lock_.unlock();
  if (wake) core_.bell_->wake();
  while (job) {
    pool_job* const next = std::exchange(job->next_finished, nullptr);
    job->finish();
    job->let_go();
    job = next;
  }
  for (auto& f : callbacks) core_.post_callback(std::move(f));
  // Last: nobody who waits for an answer waits for a new worker.
  for (const std::uint32_t seat : starts) core_.begin_start(seat);
}

// -- what a unit has come to

void pool_core::items_done(pool_unit& u, std::uint32_t n, bool good) noexcept {
  pool_job& job = *u.job;
  u.resolved += n;
  (good ? done_ : failed_) += n;
  news_ = true;
  job.unresolved -= n;
  if (job.progressed(job.unresolved)) {
    job.hold();
    job.next_finished = finished_;
    finished_ = &job;
  }
}

void pool_core::fail_item(pool_unit& u, std::uint32_t item, std::exception_ptr problem) noexcept {
  u.job->fail(u.first + item, std::move(problem));
  items_done(u, 1, false);
}

void pool_core::fail_unit(pool_unit& u, std::exception_ptr problem) noexcept {
  while (u.resolved != u.count) fail_item(u, u.resolved, problem);
  finish_unit(u);
}

// Nothing refers to it any more.
void pool_core::finish_unit(pool_unit& u) noexcept {
  pool_job* const job = u.job;
  --outstanding_;
  if (!said_.empty()) said_.erase(&u);
  job->recycle(&u);
  // The last one: a unit of an unfinished job still has items without answer, here or elsewhere.
  if (job->unresolved == 0) job->let_go();
}

void pool_core::on_result(pool_lane& lane, incoming&& item) noexcept {
  result_record r;
  if (item.bytes.size() < sizeof r) return;
  std::memcpy(&r, item.bytes.data(), sizeof r);
  const auto rest = item.bytes.subspan(sizeof r);
  pool_unit* const u = lane.at(r.unit);
  __builtin_prefetch(lane.at(r.unit + 1));  // whose result is likely to come next
  // A worker that writes nonsense into the pipe has lost its mind: what it says of units that it has not got is dropped.
  if (!u || r.unit - lane.got >= lane.put - lane.got || u->number != r.unit || r.first != u->resolved || r.count == 0 ||
      r.count > u->count - r.first)
    return;
  pool_unit* left = nullptr;  // items that the worker could not find
  if (r.kind == record_is::values) {
    try {
      u->job->accept(u->first + r.first, r.count, rest, std::move(item.fds));
      items_done(*u, r.count, true);
    } catch (...) {
      for (std::uint32_t i = 0; i < r.count; ++i) fail_item(*u, r.first + i, std::current_exception());
    }
    lane.tasks_done += r.count;
  } else if (r.kind == record_is::failed) {
    const bool rest_unread = (r.flags & result_record::rest_unread) != 0 && r.first + 1 != u->count;
    fail_item(*u, r.first, keep_exception(rest, u->id + r.first, u->attempt + 1, lane.name));
    ++lane.tasks_done;
    if (rest_unread) {
      try {
        left = split(*u, r.first + 1, u->count - r.first - 1);
        u->count = u->resolved;
      } catch (...) {
        while (u->resolved != u->count) fail_item(*u, u->resolved, std::current_exception());
      }
    }
  }
  if (u->resolved != u->count) return;
  lane.at(r.unit) = nullptr;
  --lane.in_flight;
  if (lane.kill && lane.kill->number == r.unit) lane.kill.reset();
  finish_unit(*u);
  if (!left) return;
  if (is_unwanted(*left))
    fail_unit(*left, cancelled_before());
  else
    enqueue_front(*left);
}

bool pool_core::collect_lane(pool_lane& lane) noexcept {
  if (!lane.results.is_open()) return false;
  bool any = false;
  struct context_t {
    pool_core& core;
    pool_lane& lane;
  } context{*this, lane};
  try {
    while (lane.has_results()) {
      std::size_t taken = 0;
      const auto status = lane.results.shared()->get(
          role::receiver, 64,
          [](void* p, incoming&& item) {
            auto& c = *static_cast<context_t*>(p);
            c.core.on_result(c.lane, std::move(item));
          },
          &context, time_point::min(), taken);
      any |= taken != 0;
      if (status != op_status::ok || taken == 0) break;
    }
  } catch (...) {
    // The pipe is damaged: the worker wrote into it by accident. It is no use any more.
    try {
      lane.process.kill();
    } catch (...) {
    }
  }
  // What has no answer at the front was taken back, or is over.
  while (lane.got != lane.put && !lane.at(lane.got) && lane.slot(lane.got) != slot_word(lane.got, slot_state::taken))
    ++lane.got;
  if (const auto ns = lane.page->item_ns.load(std::memory_order_relaxed)) item_ns_ = ns;
  if (const auto ns = lane.page->unit_ns.load(std::memory_order_relaxed); ns != lane.unit_ns) {
    lane.unit_ns = ns;
    lane.most_in_flight = units_in_flight(ns, lane_slots);
  }
  return any;
}

// Results of all lanes; true: there were some.
bool pool_core::collect() noexcept {
  bool any = false;
  for (seat& s : seats_)
    if (s.lane && s.lane->state != pool_lane::life::ended && collect_lane(*s.lane)) {
      any = true;
      over(*s.lane);
    }
  if (any || queued_ != 0) feed_lanes();
  if (any) leave_if_over();
  return any;
}

bool pool_core::anything_to_collect() noexcept {
  for (seat& s : seats_)
    if (s.lane && s.lane->state != pool_lane::life::ended && s.lane->has_results()) return true;
  return false;
}

// Between tasks: is this the moment to let the worker go?
void pool_core::over(pool_lane& lane) noexcept {
  if (lane.state != pool_lane::life::running) return;
  if (options_.max_tasks_per_worker > 0 && lane.tasks_done >= static_cast<std::uint64_t>(options_.max_tasks_per_worker))
    lane.must_go = true;
  if (options_.max_memory_per_worker != 0) look_at_memory(lane, std::chrono::steady_clock::now());
  if (lane.must_go && lane.in_flight == 0) tell_to_leave(lane);
}

// -- waiting

bool pool_core::collect_until(bool (*is_done)(void*), void* context, time_point until) {
  locked lock(*this, true);
  ++collectors_;
  struct leave {
    pool_core& core;
    ~leave() {
      // Who stops collecting hands on.
      if (--core.collectors_ == 0 && (core.queued_ != 0 || core.hooks_wait_)) core.arm();
    }
  } leaving{*this};
  for (auto look_at = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);;) {
    collect();
    if (is_done(context)) return true;
    if (until == time_point::min()) return false;
    lock.release();
    const auto now = std::chrono::steady_clock::now();
    if (until <= now) {
      lock.acquire();
      return is_done(context);
    }
    wait_for_bell(until);
    // The I/O thread sees deaths; without it (the library is ending) whoever waits does.
    if (now >= look_at) {
      look_for_ends();
      look_at = now + std::chrono::milliseconds(50);
    }
    lock.acquire();
  }
}

// Not locked.
void pool_core::wait_for_bell(time_point until) {
  // Lanes come and go under the lock. While it spins a try is enough; before it sleeps it must know.
  const auto seen = [this](std::unique_lock<std::mutex> lock) { return lock.owns_lock() && anything_to_collect(); };
  if (spin_for_wake_up([&] { return seen(std::unique_lock(mutex_, std::try_to_lock)); }, until)) return;
  bell_->sleep([&] { return seen(std::unique_lock(mutex_)); }, until);
}

void pool_core::with_lock(void (*f)(void*), void* context) {
  const locked lock(*this);
  f(context);
}

fed pool_core::feed_until(pool_job& job, pool_feeder& feeder, const feed_plan& plan, bool (*is_done)(void*),
                          void* context, time_point until) {
  constexpr std::uint32_t most_units = 32;  // made without the lock, then put together
  for (bool dry = false;;) {
    std::uint32_t units = 0, chunk = 1;
    {
      const locked lock(*this);
      collect();
      if (is_done(context)) return fed::done;
      if (closed_ || broken_ || job.stop_asked) dry = true;
      if (dry && job.unresolved == 0) return fed::all;
      chunk = next_chunk(plan.chunk, item_ns_, feeder.left(), seats_.size());
      std::uint64_t may = UINT64_MAX;
      if (plan.window != 0) {
        may = plan.window - std::min(plan.window, job.ahead());
        if (plan.chunk == 0)
          chunk = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(plan.window / (2 * seats_.size()), 1, chunk));
      }
      if (!dry && !has_queued()) units = feed_room(may / chunk, most_units, job.unresolved == 0);
      // Behind what others have queued, one at a time: else it would have to wait until they have nothing left.
      if (!dry && units == 0 && job.unresolved == 0) units = 1;
    }
    if (units == 0) {
      struct {
        bool (*is_done)(void*);
        void* context;
        pool_core& core;
        pool_job& job;
        std::uint64_t window, chunk;
        bool dry, woken;
      } w{is_done, context, *this, job, plan.window, chunk, dry, false};
      // Until it is done, or there is room for more.
      if (!collect_until(
              [](void* p) {
                auto& in = *static_cast<decltype(w)*>(p);
                if (in.is_done(in.context)) return in.woken = true;
                if (in.job.unresolved == 0) return true;
                if (in.dry) return false;
                if (in.core.closed_ || in.core.broken_ || in.job.stop_asked) return true;
                if (in.window != 0 && in.job.ahead() + in.chunk > in.window) return false;
                return !in.core.has_queued() && in.core.feed_room(1, 1, false) != 0;
              },
              &w, until))
        return fed::timed_out;
      if (w.woken) return fed::done;
      continue;
    }
    std::array<pool_unit*, most_units> made{};
    std::uint32_t n = 0;
    while (n < units && !dry)
      if (pool_unit* const u = feeder.next(chunk))
        made[n++] = u;
      else
        dry = true;
    const locked lock(*this);
    for (std::uint32_t i = 0; i < n; ++i) take_in(*made[i]);
    if (has_queued()) feed_lanes();
    want_tick();
  }
}

// Locked. How many units of a feeder go in now, at most `most`. `first`: one may wait for the first worker.
std::uint32_t pool_core::feed_room(std::uint64_t wanted, std::uint32_t most, bool first) noexcept {
  std::uint32_t rooms = 0;
  for (seat& s : seats_)
    if (s.lane) rooms += room(*s.lane);
  if (rooms == 0 && first) rooms = 1;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>({rooms, wanted, most}));
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
  pool_lane* const lane = has_queued() ? nullptr : best_lane();
  if (!lane || !dispatch(*lane, u)) enqueue(u);
}

}  // namespace mp::detail
