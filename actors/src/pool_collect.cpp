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
  pool_job* dead = std::exchange(core_.dead_, nullptr);
  std::vector<std::function<void()>> callbacks;
  callbacks.swap(core_.callbacks_);
  core_.callbacks_open_ += callbacks.size();
  std::vector<std::uint32_t> starts;
  if (!core_.starts_.empty() && !core_.leave_starts()) starts.swap(core_.starts_);
  std::shared_ptr<pool_core> last;  // goes when this does, not under the lock
  if (core_.self_ && core_.is_over()) {
    last = std::move(core_.self_);
    core_.heap_->close();
  }
  const bool news = std::exchange(core_.news_, false), wake = news && core_.collectors_ > others_;
  if (news) core_.news_told_.fetch_add(1, std::memory_order_release);
  lock_.unlock();
  if (wake) core_.bell_->wake();
  core_.heap_->trim();
  while (job) {
    pool_job* const next = std::exchange(job->next_finished, nullptr);
    job->finish();
    job->let_go();
    job = next;
  }
  while (dead) std::exchange(dead, dead->next_finished)->destroy();
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
  // The last one: a unit of an unfinished job still has items without answer, here or elsewhere. The user's destructors
  // run when the lock is released.
  if (job->unresolved == 0 && job->drop()) job->next_finished = std::exchange(dead_, job);
}

// The values of the next `n` items.
void pool_core::on_values(pool_unit& u, std::uint32_t n, std::span<const std::byte> bytes,
                          std::vector<unique_fd>&& fds) noexcept {
  try {
    u.job->accept(u.first + u.resolved, n, bytes, std::move(fds));
    items_done(u, n, true);
  } catch (...) {
    for (const std::exception_ptr problem = std::current_exception(); n != 0; --n) fail_item(u, u.resolved, problem);
  }
}

// The value of the next item lies where its arguments were.
void pool_core::on_place(pool_unit& u, std::span<const std::byte> bytes) noexcept {
  try {
    result_place place;
    if (bytes.size() == sizeof place) std::memcpy(&place, bytes.data(), sizeof place);
    if (u.count != 1 || !u.bytes.shared() || place.bytes == 0 || place.skip > u.bytes.size() ||
        place.bytes > u.bytes.size() - place.skip)
      throw_error(errc::undecodable, "a result that lies outside of its arguments");
    u.job->accept_place(u.first, u.bytes.view().subspan(place.skip, place.bytes), u.bytes);
    items_done(u, 1, true);
  } catch (...) {
    fail_item(u, u.resolved, std::current_exception());
  }
}

void pool_core::on_result(pool_lane& lane, incoming&& item) noexcept {
  result_record r;
  if (item.bytes.size() < sizeof r) return;
  std::memcpy(&r, item.bytes.data(), sizeof r);
  const auto rest = item.bytes.subspan(sizeof r);
  pool_unit* const u = lane.at(r.unit);
  __builtin_prefetch(lane.at(r.unit + 1));  // whose result is likely to come next
  // A worker that writes nonsense into the pipe has lost its mind: what it says of units that it has not got is dropped.
  if (!u || r.unit - lane.got >= lane.put - lane.got || u->number != r.unit || r.count == 0 || r.first > u->count ||
      r.count > u->count - r.first || lane.begun(r.unit, u->count) < r.first + r.count)
    return;
  std::size_t known_bytes = 0;
  if (r.first != u->resolved) {
    // Its beginning may be known from the draft that it was.
    const peeked_draft& seen = lane.peeked;
    if (r.kind != record_is::values || seen.unit != r.unit || seen.first != r.first || seen.items > r.count ||
        seen.first + seen.items != u->resolved || seen.bytes > rest.size())
      return;
    known_bytes = seen.bytes;
  }
  pool_unit* left = nullptr;  // items that the worker could not find
  if (r.kind == record_is::values) {
    const std::uint32_t fresh = r.first + r.count - u->resolved;
    lane.tasks_done += fresh;
    if (fresh != 0 && (r.flags & result_record::is_place) != 0)
      on_place(*u, rest);
    else if (fresh != 0)
      on_values(*u, fresh, rest.subspan(known_bytes), std::move(item.fds));
  } else if (r.kind == record_is::failed) {
    const bool rest_unread = (r.flags & result_record::rest_unread) != 0 && r.first + 1 != u->count;
    const auto problem = keep_exception(rest, u->id + r.first, u->attempt + 1, lane.name);
    do {
      fail_item(*u, u->resolved, problem);
      ++lane.tasks_done;
    } while ((r.flags & result_record::all_left) != 0 && u->resolved != u->count);
    if (rest_unread) {
      try {
        left = split(*u, u->resolved, u->count - u->resolved);
        u->count = u->resolved;
      } catch (...) {
        while (u->resolved != u->count) fail_item(*u, u->resolved, std::current_exception());
      }
    }
  }
  end_if_resolved(lane, r.unit);
  if (!left) return;
  if (is_unwanted(*left))
    fail_unit(*left, cancelled_before());
  else
    enqueue_front(*left);
}

// The results of a unit that goes on, and perhaps takes long: they lie in the draft. True: there were some.
bool pool_core::peek(pool_lane& lane) noexcept {
  const lane_page& page = *lane.page;
  const std::uint32_t round = page.draft_round.load(std::memory_order_acquire);
  if (round & 1) return false;
  const std::uint32_t number = page.draft_unit.load(std::memory_order_relaxed) - 1;
  const std::uint32_t first = page.draft_first.load(std::memory_order_relaxed);
  const std::uint64_t progress = page.progress.load(std::memory_order_acquire);
  if (number - lane.got >= lane.put - lane.got) return false;
  pool_unit* const u = lane.at(number);
  if (!u || page.unit.load(std::memory_order_relaxed) != number + 1) return false;
  const std::uint32_t done = done_of(progress);
  const std::size_t used = used_of(progress);
  const bool known = lane.peeked.unit == number && lane.peeked.first == first;
  const std::size_t from = known ? lane.peeked.bytes : 0;
  // What went through the pipe comes first.
  if (first + (known ? lane.peeked.items : 0) != u->resolved || done <= u->resolved || done > u->count || from > used ||
      used > draft_bytes - sizeof(result_record))
    return false;
  try {
    const std::byte* const at = lane.draft + sizeof(result_record);
    const std::vector<std::byte> bytes(at + from, at + used);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (page.draft_round.load(std::memory_order_relaxed) != round) return false;  // it is on its way through the pipe
    lane.peeked = {number, first, done - first, used};
    lane.tasks_done += done - u->resolved;
    on_values(*u, done - u->resolved, bytes, {});
  } catch (...) {
    return false;  // no memory: they come through the pipe
  }
  end_if_resolved(lane, number);
  return true;
}
bool pool_core::peek() noexcept {
  bool any = false;
  for (seat& s : seats_)
    if (s.lane && s.lane->in_flight != 0 && s.lane->state != pool_lane::life::ended) any |= peek(*s.lane);
  return any;
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
  while (lane.got != lane.put && !lane.at(lane.got) && lane.has_passed(lane.got)) ++lane.got;
  const std::uint64_t time = lane.page->item_time.load(std::memory_order_relaxed);
  if (const std::uint32_t f = function_of_time(time); f < function_ns_.size() && ns_of_time(time) != 0)
    function_ns_[f] = ns_of_time(time);
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
    const std::uint32_t known = news_told_.load(std::memory_order_relaxed) + (news_ ? 1 : 0);
    lock.release();
    const auto now = std::chrono::steady_clock::now();
    if (until <= now) {
      lock.acquire();
      return is_done(context);
    }
    wait_for_bell(known, until);
    // The I/O thread sees deaths; without it (the library is ending) whoever waits does.
    if (now >= look_at) {
      look_for_ends();
      look_at = now + std::chrono::milliseconds(50);
    }
    lock.acquire();
  }
}

// Not locked. `known`: the news that the caller has heard; what others have found since ends the wait, too.
void pool_core::wait_for_bell(std::uint32_t known, time_point until) {
  // Lanes come and go under the lock. While it spins a try is enough; before it sleeps it must know.
  const auto seen = [&] {
    if (news_told_.load(std::memory_order_acquire) != known) return true;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() && anything_to_collect();
  };
  if (spin_for_wake_up(seen, until)) return;
  robust_futexes lives;
  bool is_dying = false;
  const auto look = [&] {
    const std::lock_guard lock(mutex_);
    if (news_told_.load(std::memory_order_relaxed) != known || anything_to_collect()) return true;
    for (const seat& s : seats_) {
      if (!s.lane || s.lane->in_flight == 0) continue;
      if (!s.lane->dying_since)
        lives.add(lives_[s.lane->index]);
      else
        is_dying = is_dying || may_be_awaited(*s.lane);
    }
    return is_dying;
  };
  bell_->sleep_beside(lives, look, until);
  if (is_dying || lives.any_let_go()) await_dying(known, until);
}

void pool_core::with_lock(void (*f)(void*), void* context) {
  const locked lock(*this);
  f(context);
}

}  // namespace mp::detail
