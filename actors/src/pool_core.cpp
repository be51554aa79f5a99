// The faces of the core: made, given work, cancelled, closed, ended. Must leave no future without an answer, whatever
// the order in which these come.

#include "pool_core.hpp"

#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "mp/remote_error.hpp"
#include "pool_policy.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace mp::detail {

pool_core::pool_core(pool_options o)
    : options_(std::move(o)), budget_(options_.restart), chance_(std::random_device()()) {
  const auto refuse = [this](const std::string& what) {
    throw_error(errc::invalid_argument, options_.name + ": " + what);
  };
  if (options_.workers <= 0) refuse("it has " + std::to_string(options_.workers) + " workers; it needs at least one");
  if (options_.workers > static_cast<std::ptrdiff_t>(most_lanes) / 2)
    refuse(std::to_string(options_.workers) + " workers are more than the 512 that a pool may have");
  if (options_.max_tasks_per_worker < 0) refuse("max_tasks_per_worker is negative; 0 is no limit");
  if (options_.max_queued < 0) refuse("max_queued is negative; 0 is no bound");
  if (options_.restart.intensity < 0) refuse("restart.intensity is negative");
  check_task_options({.retry = options_.retry});
  memory_ = shared_block::make("mp:pool", pool_memory_bytes);
  bell_block_ = shared_block(memory_, 0, bell_bytes);
  auto* const page = reinterpret_cast<bell_page*>(bell_block_.data());
  bell_ = &page->bell;
  lives_ = page->lives;
  bell_->join();
  heap_.emplace(memory_, heap_offset, heap_bytes);
  lane_used_.resize(most_lanes);
  seats_.resize(static_cast<std::size_t>(options_.workers));
  seat_count_ = options_.workers;
}

pool_core::~pool_core() = default;

void pool_core::start() {
  add_service(service_rank::pool, weak_from_this());
  {
    const locked lock(*this);
    self_ = shared_from_this();
    // One that dies at once must not have others started in our place.
    for (seat& s : seats_) s.starting = true;
  }
  try {
    for (std::uint32_t i = 0; i < seats_.size(); ++i) {
      auto lane = make_lane(i);
      const locked lock(*this);
      install(std::move(lane));
    }
  } catch (...) {
    {
      const locked lock(*this);
      for (seat& s : seats_) s.starting = false;
    }
    terminate();
    static_cast<void>(join(time_point::max()));
    throw;
  }
}

// -- work

void pool_core::check_open() {
  const locked lock(*this);
  if (broken_) throw_error(errc::pool_broken, broken_why_);
  if (closed_) throw_error(errc::pool_closed, options_.name + " was closed: it takes no more tasks");
}

// A stop counts first: it is what the caller asked for.
std::exception_ptr pool_core::why_unfed(pool_job& job, bool stop) {
  const locked lock(*this);
  try {
    if (job.stop_asked || terminated_) {
      if (!stop && !terminated_) return nullptr;
      throw_error(errc::cancelled, options_.name + ": the call was stopped before all of its input was read");
    }
    if (broken_) throw_error(errc::pool_broken, broken_why_);
    throw_error(errc::pool_closed, options_.name + " was closed before all of the input was read");
  } catch (...) {
    return std::current_exception();
  }
}

std::uint32_t pool_core::register_function(const unit_function& f) {
  const locked lock(*this);
  return function_number(f);
}

bool pool_core::submit(pool_unit& unit, const unit_function& f, bool wait) {
  const auto most = static_cast<std::uint64_t>(options_.max_queued);
  for (;;) {
    {
      const locked lock(*this);
      if (broken_) throw_error(errc::pool_broken, broken_why_);
      if (closed_) throw_error(errc::pool_closed, options_.name + " was closed: it takes no more tasks");
      pool_job& job = *unit.job;
      job.function = function_number(f);
      pool_lane* const lane =
          has_queued() || (job.options && !job.options->key.empty()) ? nullptr : best_lane(time_of(job, unit.count));
      if (lane || most == 0 || queued_ < most) {
        unit.id = next_ids(unit.count);
        expect(job, unit.count);
        if (!lane || !dispatch(*lane, unit)) {
          enqueue(unit);
          feed_lanes();
          if (collectors_ == 0) arm();
        }
        want_tick();
        return true;
      }
    }
    if (!wait) return false;
    check_may_wait("pool::submit");
    struct context_t {
      pool_core& core;
      std::uint64_t most;
    } context{*this, most};
    static_cast<void>(collect_until(
        [](void* p) {
          auto& c = *static_cast<context_t*>(p);
          return c.core.broken_ || c.core.closed_ || c.core.queued_ < c.most;
        },
        &context, time_point::max()));
  }
}

void pool_core::submit_to_each(const std::vector<pool_unit*>& units) {
  const locked lock(*this);
  if (broken_) throw_error(errc::pool_broken, broken_why_);
  if (closed_) throw_error(errc::pool_closed, options_.name + " was closed: it takes no more tasks");
  for (std::size_t i = 0; i < units.size(); ++i) {
    pool_unit& u = *units[i];
    u.id = next_ids(u.count);
    u.more().seat = static_cast<std::int32_t>(i % static_cast<std::size_t>(workers()));
    expect(*u.job, u.count);
    enqueue(u);
  }
  feed_lanes();
  want_tick();
}

void pool_core::feed_all(pool_job& job, pool_feeder& feeder, const feed_plan& plan) {
  check_open();
  for (;;) {
    std::uint32_t chunk;
    {
      const locked lock(*this);
      const auto seats = static_cast<std::uint64_t>(workers());
      const std::uint64_t item_ns = known_ns(plan, job);
      chunk = next_chunk(plan.chunk, item_ns, feeder.left(), seats);
      // Nothing is known yet: as Python does, four chunks a worker.
      if (plan.chunk == 0 && item_ns == 0 && feeder.left() != UINT64_MAX)
        chunk = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(feeder.left() / (4 * seats), 1, 1024));
    }
    pool_unit* const u = feeder.next(chunk);
    if (!u) return;
    const locked lock(*this);
    take_in(*u);
    feed_lanes();
    if (collectors_ == 0) arm();
    want_tick();
  }
}

bool pool_core::cancel(pool_job& job) noexcept {
  const locked lock(*this);
  if (job.unresolved == 0 && !job.stop_asked) {
    job.stop_asked = true;
    return false;
  }
  job.stop_asked = true;
  const std::exception_ptr problem = cancelled_before();
  unit_list mine;
  const auto is_mine = [&](pool_unit& u) { return u.job == &job; };
  take_queued(is_mine, mine);
  while (!mine.empty()) {
    pool_unit* const u = mine.pop_front();
    --queued_;
    cancelled_ += u->count - u->resolved;
    fail_unit(*u, problem);
  }
  const auto now = std::chrono::steady_clock::now();
  for (seat& s : seats_) {
    if (!s.lane) continue;
    pool_lane& lane = *s.lane;
    // What is ended or collected in between may move `got` beyond n.
    for (std::uint32_t n = lane.put; static_cast<std::int32_t>(n - lane.got) > 0;)
      if (pool_unit* const u = lane.at(--n); u && u->job == &job) end_unit(lane, n, problem, now);
    over(lane);
  }
  feed_lanes();
  leave_if_over();
  return true;
}

void pool_core::attend() noexcept {
  const locked lock(*this);
  hooks_wait_ = true;
  if (collectors_ == 0) arm();
}

// -- the end

void pool_core::close() noexcept {
  const locked lock(*this);
  closed_ = true;
  leave_if_over();
  if (collectors_ == 0) arm();
  want_tick();
}

void pool_core::terminate() noexcept {
  const locked lock(*this);
  if (terminated_) return;
  closed_ = terminated_ = true;
  std::exception_ptr problem;
  try {
    problem = std::make_exception_ptr(error(errc::cancelled, options_.name + " was terminated"));
  } catch (...) {
    problem = std::current_exception();
  }
  fail_queued(problem);
  const auto now = std::chrono::steady_clock::now();
  for (seat& s : seats_) {
    if (!s.lane) continue;
    pool_lane& lane = *s.lane;
    lane.must_go = true;
    for (std::uint32_t n = lane.got; n != lane.put; ++n)
      if (pool_unit* const u = lane.at(n)) {
        u->job->stop_asked = true;
        // Chunks are not finished for the sake of their first item.
        end_unit(lane, n, problem, now);
      }
    if (lane.in_flight == 0) {
      tell_to_leave(lane);
      lane.leave_by = now + std::chrono::seconds(1);
    }
  }
  leave_if_over();
  want_tick();
}

bool pool_core::join(time_point until) {
  bool over;
  {
    const locked lock(*this);
    if (!closed_ && !broken_)
      throw_error(errc::still_open, options_.name + ": close() or terminate() it before join()");
    over = is_over();
  }
  if (!over) check_may_wait("pool::join");
  const auto is_done = [](void* p) { return static_cast<pool_core*>(p)->is_over(); };
  return (over || collect_until(is_done, this, until)) && await_callbacks(until);
}

verdict pool_core::drain(duration limit) {
  check_may_wait("pool::drain");
  close();
  verdict what;
  if (!join(deadline_after(std::chrono::steady_clock::now(), limit))) {
    terminate();
    static_cast<void>(join(time_point::max()));
  }
  const locked lock(*this);
  what = std::exchange(ends_, {});
  return what;
}

void pool_core::stop_by(time_point until, verdict& what) noexcept {
  if (is_copy()) return;
  try {
    close();
    if (!join(until == time_point::max() ? std::chrono::steady_clock::now() : until)) terminate();
    static_cast<void>(join(std::chrono::steady_clock::now() + std::chrono::seconds(5)));
    const locked lock(*this);
    const verdict mine = std::exchange(ends_, {});
    what.ended.insert(what.ended.end(), mine.ended.begin(), mine.ended.end());
    what.killed.insert(what.killed.end(), mine.killed.begin(), mine.killed.end());
    for (const seat& s : seats_)
      if (s.lane) what.leaked.push_back(s.lane->name + " still runs");
  } catch (...) {
  }
}

void pool_core::resize(std::ptrdiff_t workers) {
  if (workers <= 0 || workers > static_cast<std::ptrdiff_t>(most_lanes) / 2)
    throw_error(errc::invalid_argument,
                options_.name + ": resize to " + std::to_string(workers) + " workers; 1 to 512 are possible");
  const locked lock(*this);
  if (closed_ || broken_) throw_error(errc::pool_closed, options_.name + " was closed: it has no size any more");
  const auto wanted = static_cast<std::size_t>(workers);
  // A seat is kept while its worker ends; keys are dealt out anew, among the seats that stay.
  unit_list homeless;
  const auto any = [](pool_unit&) { return true; };
  for (seat& s : seats_) {
    for (auto& [priority, list] : s.keyed) list.take_if(any, homeless);
    s.keyed.clear();
  }
  while (seats_.size() < wanted) seats_.emplace_back();
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    seats_[i].wanted = i < wanted;
    if (seats_[i].lane && !seats_[i].wanted) {
      seats_[i].lane->must_go = true;
      if (seats_[i].lane->in_flight == 0) tell_to_leave(*seats_[i].lane);
    }
  }
  seat_count_ = workers;
  while (!homeless.empty()) {
    pool_unit* const u = homeless.pop_front();
    --queued_;
    // Of a broadcast: it was this worker's.
    if (u->extras && u->extras->seat >= workers)
      fail_unit(*u, cancelled_before());
    else
      enqueue(*u);
  }
  start_missing();
  feed_lanes();
  want_tick();
}

}  // namespace mp::detail
