// What happens because time passes, and what the I/O thread does while nobody waits. Must never kill a worker for a
// task that it is done with: it is stopped first, looked at, and only then killed.

#include "pool_core.hpp"

#include "mp/detail/async.hpp"
#include "mp/detail/io_executor.hpp"
#include "mp/detail/process_hooks.hpp"
#include "mp/error.hpp"
#include "pool_policy.hpp"

#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>

namespace mp::detail {
namespace {

// While there is work the I/O thread looks so often: for deadlines, kills and retries, and in case nobody waits.
constexpr std::chrono::milliseconds tick_length{10};

// The state letter of a process, from /proc; 0: not known.
char state_of(pid_t pid) noexcept {
  char path[32], text[512];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  std::FILE* const file = std::fopen(path, "re");
  if (!file) return 0;
  const std::size_t n = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  text[n] = 0;
  const char* const end = std::strrchr(text, ')');
  return end && end[1] == ' ' ? end[2] : 0;
}

}  // namespace

// Locked.
void pool_core::want_tick() noexcept {
  if (ticking_) return;
  try {
    post_to(io_thread_ref(), [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->tick();
    });
    ticking_ = true;
  } catch (...) {
    // The library is ending: whoever waits looks for itself.
  }
}

void pool_core::tick() noexcept {
  const auto self = shared_from_this();
  locked lock(*this);
  const auto now = std::chrono::steady_clock::now();
  if (collectors_ == 0) collect();
  // Results that wait for the end of their unit, and work that waits although somebody is idle.
  if (peek()) feed_lanes();
  help_idle_lanes(true);
  if (timed_) look_at_deadlines(now);
  unit_list due;
  delayed_.take_if([now](const pool_unit& u) { return u.extras->not_before <= now; }, due);
  while (!due.empty()) {
    --queued_;
    enqueue(*due.pop_front());
  }
  if (queued_ != 0) feed_lanes();
  for (seat& s : seats_)
    if (s.lane) {
      carry_out(*s.lane, now);
      stop_next(*s.lane, now);
    }
  start_missing();
  report_progress();
  if (collectors_ == 0 && (queued_ != 0 || hooks_wait_)) watch_lanes();
  if (outstanding_ == 0) {
    hooks_wait_ = false;
    timed_ = false;
  }
  bool more = outstanding_ != 0 || starters_ != 0;
  for (seat& s : seats_) more = more || (s.lane ? s.lane->kill || s.lane->told_to_leave : s.wanted);
  if (more && !(is_over())) {
    try {
      if (!timer_) timer_ = std::make_shared<asio::steady_timer>(io_executor());
      timer_->expires_after(tick_length);
      timer_->async_wait([weak = weak_from_this()](const error_code& problem) {
        const auto here = weak.lock();
        if (here && !problem) here->tick();
      });
      return;
    } catch (...) {
    }
  }
  ticking_ = false;
}

// Locked. Asks the I/O thread to collect as soon as there is something.
void pool_core::arm() noexcept {
  if (arming_) return;
  try {
    post_to(io_thread_ref(), [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      const locked lock(*self);
      self->arming_ = false;
      if (self->collectors_ == 0) self->collect();
      self->watch_lanes();
    });
    arming_ = true;
  } catch (...) {
  }
}

// Locked, on the I/O thread.
void pool_core::watch_lanes() noexcept {
  for (seat& s : seats_) {
    pool_lane* const lane = s.lane.get();
    if (!lane || lane->in_flight == 0 || lane->watching || lane->state == pool_lane::life::ended) continue;
    try {
      channel& c = *lane->results.shared();
      if (!lane->watch)
        lane->watch = std::make_shared<asio::posix::stream_descriptor>(io_executor(), c.poll_fd(side::get));
      if (c.prepare_poll(role::receiver, side::get)) {
        arm();
        continue;
      }
      lane->watching = true;
      lane->watch->async_wait(asio::posix::stream_descriptor::wait_read,
                              [weak = weak_from_this(), lane, watch = lane->watch](const error_code& problem) {
                                const auto self = weak.lock();
                                if (!self || problem) return;
                                const locked lock(*self);
                                bool here = false;
                                for (seat& one : self->seats_) here = here || one.lane.get() == lane;
                                if (!here || lane->watch != watch) return;
                                lane->watching = false;
                                if (self->collectors_ == 0) self->collect();
                                if (self->collectors_ == 0 && (self->queued_ != 0 || self->hooks_wait_))
                                  self->watch_lanes();
                              });
    } catch (...) {
      // No descriptors: the tick looks.
    }
  }
}

// Locked.
void pool_core::look_at_deadlines(time_point now) noexcept {
  unit_list late;
  for (seat& s : seats_) {
    if (!s.lane || s.lane->state == pool_lane::life::ended) continue;
    pool_lane& lane = *s.lane;
    for (std::uint32_t n = lane.got; n != lane.put; ++n) {
      pool_unit*& u = lane.at(n);
      if (!u) continue;
      const deadline& d = deadline_of(*u->job);
      if (d.is_none()) continue;
      const bool is_over = d.of_task() && *d.of_task() <= now;
      if (is_over && lane.take_back(n, u->count)) {
        lane.leave(*u);
        u->lane = -1;
        late.push_back(std::exchange(u, nullptr));
        ++queued_;  // as those that wait
        continue;
      }
      if (is_over)
        if (pool_unit* const rest = cut_off(lane, n, lane.begun(n, u->count))) {
          late.push_back(rest);
          ++queued_;
          if (!u) continue;
        }
      const std::uint32_t begun = lane.begun(n, u->count);
      if (lane.kill || begun == 0) continue;
      const auto since = time_point(std::chrono::nanoseconds(lane.page->item_since.load(std::memory_order_relaxed)));
      // The words are of this unit and of one item only if they are the same when looked at again.
      if (lane.page->unit.load(std::memory_order_relaxed) != n + 1 || lane.has_passed(n) ||
          lane.begun(n, u->count) != begun || done_of(lane.page->progress.load(std::memory_order_acquire)) == begun)
        continue;
      if (is_over || (d.of_attempt() && deadline_after(since, *d.of_attempt()) <= now))
        begin_kill(lane, n, begun - 1, death::deadline, now);
    }
    over(lane);
  }
  // Those that wait and whose moment is over.
  const auto is_late = [&](pool_unit& u) {
    const auto& moment = deadline_of(*u.job).of_task();
    return moment && *moment <= now;
  };
  take_queued(is_late, late);
  while (!late.empty()) {
    pool_unit* const u = late.pop_front();
    --queued_;
    fail_unit(*u,
              std::make_exception_ptr(error(errc::deadline_exceeded, "the task's deadline was over before it began")));
  }
}

// Locked. A unit in a lane that is not wanted any more: what is not begun fails with this, what is under way is stopped.
void pool_core::end_unit(pool_lane& lane, std::uint32_t number, const std::exception_ptr& problem,
                         time_point now) noexcept {
  pool_unit*& u = lane.at(number);
  if (lane.take_back(number, u->count)) {
    lane.leave(*u);
    pool_unit* const whole = std::exchange(u, nullptr);
    cancelled_ += whole->count - whole->resolved;
    fail_unit(*whole, problem);
    return;
  }
  // A worker that claims meanwhile is tried again.
  for (std::uint32_t begun; u && (begun = lane.begun(number, u->count)) < u->count;) {
    if (pool_unit* const rest = cut_off(lane, number, begun)) {
      cancelled_ += rest->count;
      fail_unit(*rest, problem);
    } else if (lane.begun(number, u->count) == begun) {
      break;  // it cannot be cut
    }
  }
  if (u) begin_kill(lane, number, 0, death::cancelled, now);
}

// Locked. A lane stops one unit at a time: others of it that are not wanted, and were begun meanwhile, come after it.
void pool_core::stop_next(pool_lane& lane, time_point now) noexcept {
  if (lane.state == pool_lane::life::ended) return;
  for (std::uint32_t n = lane.got; n != lane.put && !lane.kill; ++n)
    if (const pool_unit* const u = lane.at(n); u && u->job->stop_asked && lane.begun(n, u->count) != 0)
      begin_kill(lane, n, 0, death::cancelled, now);
}

// Locked.
void pool_core::begin_kill(pool_lane& lane, std::uint32_t number, std::uint32_t item, death why,
                           time_point now) noexcept {
  pool_unit* const u = lane.at(number);
  if (!u || lane.kill) return;
  const bool listens = functions_[u->job->function].kind->takes_stop ||
                       lane.page->listening.load(std::memory_order_seq_cst) == number + 1;
  const duration grace = u->job->options && u->job->options->grace ? *u->job->options->grace : options_.grace;
  lane.kill = pending_kill{number, item, why, listens ? deadline_after(now, grace) : now};
  lane.page->stop_unit.store(number + 1, std::memory_order_seq_cst);
  lane.page->stop_bell.ring();
  if (!listens) carry_out(lane, now);
  want_tick();
}

// Locked.
void pool_core::carry_out(pool_lane& lane, time_point now) noexcept {
  if (lane.state == pool_lane::life::ended) return;
  try {
    if (lane.told_to_leave && !lane.killed && lane.leave_by <= now) {
      lane.killed = true;
      lane.process.kill();
      return;
    }
    if (!lane.kill || lane.killed || lane.kill->at > now) return;
    const pending_kill& kill = *lane.kill;
    // In an item of the unit; for a deadline in the one whose time is over.
    const auto is_at_it = [&] {
      const pool_unit* const u = lane.at(kill.number);
      if (!u || lane.page->unit.load(std::memory_order_acquire) != kill.number + 1 || lane.has_passed(kill.number))
        return false;
      const std::uint32_t begun = lane.begun(kill.number, u->count);
      const std::uint32_t done = done_of(lane.page->progress.load(std::memory_order_acquire));
      return done < begun && (kill.why == death::cancelled || begun == kill.item + 1);
    };
    process_hooks::signal(lane.process, SIGSTOP);
    const auto give_up = now + std::chrono::milliseconds(20);
    for (char state = 0; std::chrono::steady_clock::now() < give_up;) {
      state = state_of(lane.process.pid());
      if (state == 'T' || state == 't' || state == 'Z' || state == 'X' || state == 0) break;
      std::this_thread::yield();
    }
    if (is_at_it()) {
      lane.killed = true;
      lane.process.kill();
    } else {
      process_hooks::signal(lane.process, SIGCONT);
      collect_lane(lane);
      peek(lane);
      if (!lane.kill) return;
      pool_unit* const u = lane.at(lane.kill->number);
      // What is cancelled is looked at again as long as it is there; of a deadline the item has been done in time.
      if (!u || (lane.kill->why != death::cancelled &&
                 done_of(lane.page->progress.load(std::memory_order_acquire)) > lane.kill->item))
        lane.kill.reset();
    }
  } catch (...) {
    // It has ended: its end is on its way.
  }
}

// Locked.
void pool_core::look_at_memory(pool_lane& lane, time_point now) noexcept {
  if (now - lane.memory_looked < std::chrono::milliseconds(5) && lane.in_flight != 0) return;
  lane.memory_looked = now;
  try {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%d/statm", static_cast<int>(lane.process.pid()));
    std::FILE* const file = std::fopen(path, "re");
    if (!file) return;
    unsigned long total = 0, resident = 0;
    const int n = std::fscanf(file, "%lu %lu", &total, &resident);
    std::fclose(file);
    if (n == 2 && resident * static_cast<unsigned long>(::sysconf(_SC_PAGESIZE)) > options_.max_memory_per_worker)
      lane.must_go = true;
  } catch (...) {
  }
}

// Not locked.
void pool_core::post_callback(std::function<void()> f) noexcept {
  try {
    // Counts it as back when it and all that it holds has gone; also if it cannot be posted.
    std::shared_ptr<pool_core> back(this, [self = shared_from_this()](pool_core*) {
      const std::lock_guard lock(self->mutex_);
      if (--self->callbacks_open_ == 0) self->changed_.notify_all();
    });
    auto call = [back = std::move(back), f = std::move(f)]() mutable {
      const auto keep = std::move(back);
      const auto once = std::move(f);
      once();
    };
    if (options_.executor)
      options_.executor.post(std::move(call));
    else
      post_to(io_thread_ref(), std::move(call));
  } catch (...) {
    // The library is ending: nobody is left to call.
  }
}

// Not locked. On an executor of the user's nobody waits for callbacks: it may be run by the thread that is here.
bool pool_core::await_callbacks(time_point until) {
  if (options_.executor || on_io_thread()) return true;
  std::unique_lock lock(mutex_);
  // What was posted to a thread that has ended never comes back.
  while (callbacks_open_ != 0 && !has_io_thread_ended()) {
    const auto now = std::chrono::steady_clock::now();
    if (until <= now) return false;
    changed_.wait_until(lock, std::min(until, now + std::chrono::milliseconds(20)));
  }
  return true;
}

}  // namespace mp::detail
