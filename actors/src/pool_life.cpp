// Lives of workers: started, ended, replaced. Must start none under the lock or on the I/O thread, and must free a lane
// only when nothing watches it any more.

#include "pool_core.hpp"

#include "mp/detail/async.hpp"
#include "mp/detail/process_hooks.hpp"
#include "mp/error.hpp"
#include "pool_policy.hpp"

#include <algorithm>
#include <string>
#include <thread>

namespace mp::detail {

// Not locked: starting takes a while, and may hang with the user's own main.
std::unique_ptr<pool_lane> pool_core::make_lane(std::uint32_t number) {
  auto lane = std::make_unique<pool_lane>();
  lane->remains = make_remains();
  {
    const locked lock(*this);
    const auto free = std::find(lane_used_.begin(), lane_used_.end(), false);
    if (free == lane_used_.end())
      throw_error(errc::out_of_resources, options_.name + ": no more than 1024 workers, the dying ones included");
    *free = true;
    lane->index = static_cast<std::uint32_t>(free - lane_used_.begin());
  }
  try {
    lane->seat = number;
    lane->name = options_.name + " worker " + std::to_string(number + 1);
    shared_block::release(memory_, lane_offset(lane->index), lane_bytes);
    lane->block = shared_block(memory_, lane_offset(lane->index), lane_bytes);
    lives_[lane->index].reset();
    lane->page = reinterpret_cast<lane_page*>(lane->block.data());
    lane->page->stop_bell.join();
    lane->draft = lane->block.data() + page_bytes;

    channel_options ring;
    ring.kind = channel_kind::pipe;
    ring.type_hash = handle_codec<lane_end>::hash;
    const auto tasks = make_channel(ring), results = make_channel(ring);
    lane->tasks = handle(tasks, role::sender);
    lane->results = handle(results, role::receiver);
    worker_start start;
    start.lane = lane->index;
    start.keeps_memory = options_.max_memory_per_worker == 0 && !options_.limits.memory;
    start.memory = duplicate(memory_);
    start.tasks.end = handle(tasks, role::receiver);
    start.results.end = handle(results, role::sender);
    if (const auto& call = call_of(options_.initializer)) {
      encoded bytes = serialise_call(*call);
      start.initializer = std::move(bytes.bytes);
      start.initializer_fds = std::move(bytes.fds);
    }
    process_options how;
    how.name = lane->name;
    how.daemon = true;
    how.start_method = options_.start_method;
    how.rlimits = options_.limits;
    how.err = stdio::capture();
    lane->process = mp::process(std::move(how), pool_worker, std::move(start));
    process_hooks::lead_own_group(lane->process);
    lane->process.start();
    return lane;
  } catch (...) {
    const locked lock(*this);
    lane_used_[lane->index] = false;
    throw;
  }
}

// Locked.
void pool_core::install(std::unique_ptr<pool_lane> made) {
  seat& s = seats_[made->seat];
  pool_lane* const lane = made.get();
  s.lane = std::move(made);
  s.starting = false;
  lane->serial = ++lanes_made_;
  lane->state = pool_lane::life::running;
  // A weak one: the core must not live because a worker does.
  try {
    lane->process.async_join([weak = weak_from_this(), serial = lane->serial](error_code problem, mp::exit_status) {
      if (problem) return;
      if (const auto self = weak.lock()) self->on_end(serial, false);
    });
  } catch (...) {
    // The library is ending: whoever waits looks for its end.
  }
  if (terminated_ || broken_ || !s.wanted) lane->must_go = true;
  if (lane->must_go) tell_to_leave(*lane);
  feed_lanes();
  leave_if_over();
}

void pool_core::run_starter(std::uint32_t number) noexcept {
  clear_away(number);
  std::string why;
  try {
    auto lane = make_lane(number);
    const locked lock(*this);
    install(std::move(lane));
    --starters_;
    changed_.notify_all();
    return;
  } catch (const std::exception& e) {
    why = e.what();
  }
  const locked lock(*this);
  seats_[number].starting = false;
  --starters_;
  changed_.notify_all();
  if (terminated_ || broken_) return;
  if (!budget_.spend(std::chrono::steady_clock::now()))
    break_pool("its workers cannot be started: " + why);
  else
    start_later(number, true);
}

// Locked.
void pool_core::start_later(std::uint32_t number, bool failed) noexcept {
  seat& s = seats_[number];
  s.failures = failed ? s.failures + 1 : 0;
  s.start_at = std::chrono::steady_clock::now();
  if (failed) {
    const double chance = std::uniform_real_distribution<>(0, 1)(chance_);
    s.start_at = deadline_after(s.start_at, pause_before(options_.restart.back_off, s.failures, chance));
  }
  start_missing();
  want_tick();
}

// Locked.
void pool_core::start_missing() noexcept {
  if (terminated_ || broken_ || (closed_ && outstanding_ == 0)) return;
  const auto now = std::chrono::steady_clock::now();
  for (std::uint32_t i = 0; i < seats_.size(); ++i) {
    seat& s = seats_[i];
    if (s.lane || s.starting || !s.wanted || s.start_at > now) continue;
    try {
      starts_.push_back(i);
      s.starting = true;
      ++starters_;
    } catch (...) {
      s.start_at = now + std::chrono::milliseconds(100);  // no memory now
    }
  }
}

// Not locked. What is left of a seat's last worker.
void pool_core::clear_away(std::uint32_t number) noexcept {
  std::shared_ptr<void> last;
  const locked lock(*this);
  last = std::move(seats_[number].last);
}

// Locked. Who waits for an answer does not make the thread that starts a worker: the I/O thread does, or whoever waits long.
// False: there is no I/O thread.
bool pool_core::leave_starts() noexcept {
  if (starts_left_) return true;
  if (on_io_thread()) return false;
  try {
    post_to(io_thread_ref(), [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->begin_starts();
    });
    return starts_left_ = true;
  } catch (...) {
    return false;
  }
}

// Not locked.
void pool_core::begin_starts() noexcept {
  std::vector<std::uint32_t> starts;
  {
    const std::lock_guard lock(mutex_);
    starts.swap(starts_);
    starts_left_ = false;
  }
  for (const std::uint32_t number : starts) begin_start(number);
}

// Not locked. Each start has a thread of its own: a child that hangs before its hello must not stop the I/O thread.
void pool_core::begin_start(std::uint32_t number) noexcept {
  try {
    std::thread([self = shared_from_this(), number] { self->run_starter(number); }).detach();
  } catch (...) {
    clear_away(number);
    const locked lock(*this);
    seats_[number].starting = false;
    seats_[number].start_at = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);  // no thread now
    --starters_;
    want_tick();
  }
}

// Locked. What has not begun ends with this.
void pool_core::fail_queued(const std::exception_ptr& problem) noexcept {
  unit_list all;
  const auto any = [](pool_unit&) { return true; };
  take_queued(any, all);
  for (seat& s : seats_) {
    if (!s.lane) continue;
    for (std::uint32_t n = s.lane->put; n != s.lane->got;)
      if (pool_unit*& u = s.lane->at(--n); u && s.lane->take_back(n, u->count)) {
        s.lane->leave(*u);
        all.push_back(std::exchange(u, nullptr));
      }
  }
  queued_ = 0;
  while (!all.empty()) {
    pool_unit* const u = all.pop_front();
    fail_unit(*u, problem);
  }
}

std::exception_ptr pool_core::cancelled_before() noexcept {
  try {
    return std::make_exception_ptr(error(errc::cancelled, "the task was cancelled before it began"));
  } catch (...) {
    return std::current_exception();
  }
}

// Locked.
void pool_core::break_pool(const std::string& why) noexcept {
  broken_ = true;
  try {
    broken_why_ = options_.name + " gave up: more than " + std::to_string(options_.restart.intensity) +
                  " workers ended without a task in a short time; the last: " + why;
    fail_queued(std::make_exception_ptr(error(errc::pool_broken, broken_why_)));
  } catch (...) {
    fail_queued(std::current_exception());
  }
  for (seat& s : seats_)
    if (s.lane) {
      s.lane->must_go = true;
      if (s.lane->in_flight == 0) tell_to_leave(*s.lane);
    }
}

// Locked.
void pool_core::tell_to_leave(pool_lane& lane) noexcept {
  if (lane.told_to_leave || lane.state != pool_lane::life::running) return;
  lane.told_to_leave = true;
  lane.state = pool_lane::life::leaving;
  lane.leave_by = std::chrono::steady_clock::now() + (terminated_ ? std::chrono::seconds(1) : std::chrono::seconds(10));
  const task_record record{record_is::leave, 0, 0, 0, 0, 0};
  outgoing out;
  out.bytes = std::as_bytes(std::span(&record, 1));
  out.size = out.bytes.size();
  try {
    if (lane.tasks.shared()->put(role::sender, out, time_point::min()) != op_status::ok)
      lane.leave_by = std::chrono::steady_clock::now();
  } catch (...) {
    lane.leave_by = std::chrono::steady_clock::now();
  }
  want_tick();
}

// Locked. A closed pool whose work is done lets its workers go.
void pool_core::leave_if_over() noexcept {
  if (!(closed_ || broken_ || terminated_) || outstanding_ != 0) return;
  for (seat& s : seats_)
    if (s.lane) tell_to_leave(*s.lane);
}

bool pool_core::is_over() const noexcept {
  if (!(closed_ || broken_ || terminated_) || outstanding_ != 0 || starters_ != 0 || burials_ != 0) return false;
  return std::none_of(seats_.begin(), seats_.end(), [](const seat& s) { return s.lane != nullptr; });
}

// Not locked.
void pool_core::look_for_ends() noexcept {
  for (std::size_t i = 0;; ++i) {
    std::uint64_t ended = 0;
    {
      const locked lock(*this, true);
      if (i >= seats_.size()) break;
      pool_lane* const lane = seats_[i].lane.get();
      try {
        if (lane && lane->state != pool_lane::life::ended && lane->process.exit_status()) ended = lane->serial;
      } catch (...) {
      }
    }
    if (ended != 0) on_end(ended, true);
  }
  begin_starts();
}

}  // namespace mp::detail
