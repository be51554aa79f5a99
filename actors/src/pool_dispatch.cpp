// Which unit goes to which worker. Must never put a unit where it could wait behind another while a worker is idle, and
// must count an attempt only when a worker has claimed it.

#include "pool_core.hpp"

#include "mp/error.hpp"
#include "pool_policy.hpp"
#include "task_parcel.hpp"

#include <algorithm>
#include <climits>
#include <cstring>
#include <functional>
#include <string>

namespace mp::detail {

namespace {

std::int64_t as_ns(time_point t) noexcept { return t.time_since_epoch().count(); }

}  // namespace

void pool_core::begin_unit(pool_job& job, pool_unit& unit) {
  check_process();
  unit.job = &job;
  unit.bytes.clear();
  const deadline& d = deadline_of(job);
  if (job.options || !d.is_none()) {
    const std::string_view key = job.options ? std::string_view(job.options->key) : std::string_view();
    task_more more;
    if (d.of_attempt()) more.deadline_ns = d.of_attempt()->count().count();
    if (d.of_task()) more.moment_ns = as_ns(*d.of_task());
    more.key_bytes = static_cast<std::uint32_t>(key.size());
    unit.bytes.append(std::as_bytes(std::span(&more, 1)));
    unit.bytes.append(std::as_bytes(std::span(key)));
  }
  unit.prefix = static_cast<std::uint32_t>(unit.bytes.size());
}

// How many more units that take `ns` each.
std::uint32_t pool_core::room(const pool_lane& lane, std::uint64_t ns) const noexcept {
  if (lane.state != pool_lane::life::running || lane.must_go || lane.kill) return 0;
  if (lane.put - lane.got >= lane_slots) return 0;
  std::uint64_t most =
      std::min(more_in_flight(lane.ahead_ns, lane.in_flight == 0, ns, lane_slots), lane_slots - (lane.put - lane.got));
  // A worker gets no more tasks than it may run. Chunks of several count when they are done: the last may exceed it.
  if (const auto limit = static_cast<std::uint64_t>(options_.max_tasks_per_worker); limit > 0) {
    const std::uint64_t taken = lane.tasks_done + lane.in_flight;
    most = std::min(most, limit - std::min(limit, taken));
  }
  return static_cast<std::uint32_t>(most);
}

pool_lane* pool_core::best_lane(std::uint64_t ns) noexcept {
  pool_lane* best = nullptr;
  for (seat& s : seats_) {
    if (!s.lane || room(*s.lane, ns) == 0) continue;
    if (s.lane->in_flight == 0) return s.lane.get();
    if (!best || s.lane->ahead_ns < best->ahead_ns) best = s.lane.get();
  }
  return best;
}

int pool_core::seat_of(const pool_unit& u) const noexcept {
  if (u.extras && u.extras->seat >= 0) return u.extras->seat;
  if (!u.job->options || u.job->options->key.empty()) return -1;
  return static_cast<int>(std::hash<std::string>()(u.job->options->key) % static_cast<std::size_t>(workers()));
}
unit_list& pool_core::place_of(const pool_unit& u) {
  const int bound = seat_of(u);
  return (bound < 0 ? backlog_ : seats_[static_cast<std::size_t>(bound)].keyed)[priority_of(u)];
}
void pool_core::enqueue(pool_unit& u) noexcept {
  ++queued_;
  if (!deadline_of(*u.job).is_none()) timed_ = true;
  place_of(u).push_back(&u);
}
void pool_core::enqueue_front(pool_unit& u) noexcept {
  ++queued_;
  place_of(u).push_front(&u);
}

void pool_core::feed_lanes() noexcept {
  if (queued_ != 0) {
    make_way();
    const auto first_of = [](backlog& b) {
      while (!b.empty() && b.begin()->second.empty()) b.erase(b.begin());
      return b.begin();
    };
    const auto feed_bound = [&](int least) {
      for (seat& s : seats_)
        while (s.lane) {
          const auto it = first_of(s.keyed);
          if (it == s.keyed.end() || it->first < least) break;
          pool_unit* const u = it->second.front();
          if (room(*s.lane, time_of(*u->job, u->count)) == 0) break;
          --queued_;
          if (!dispatch(*s.lane, *it->second.pop_front())) {
            enqueue_front(*u);
            break;
          }
        }
    };
    // Of the same priority those first that have one place only.
    auto it = first_of(backlog_);
    feed_bound(it == backlog_.end() ? INT_MIN : it->first);
    for (bool full = false; it != backlog_.end() && !full; it = first_of(backlog_)) {
      pool_unit* const u = it->second.front();
      pool_lane* const lane = best_lane(time_of(*u->job, u->count));
      full = !lane;
      if (full) break;
      --queued_;
      if (!dispatch(*lane, *it->second.pop_front())) {
        enqueue_front(*u);
        full = true;
      }
    }
    feed_bound(INT_MIN);
  }
  if (feeders_.load(std::memory_order_relaxed) == 0) help_idle_lanes(false);
}

// What is more important than units that wait in a lane goes in front of them: they come back.
void pool_core::make_way() noexcept {
  const auto top_of = [](const backlog& b) {
    for (const auto& [priority, list] : b)
      if (!list.empty()) return priority;
    return INT_MIN;
  };
  const int everybody = top_of(backlog_);
  for (seat& s : seats_) {
    if (!s.lane || s.lane->in_flight < 2) continue;
    pool_lane& lane = *s.lane;
    const int top = std::max(everybody, s.keyed.empty() ? INT_MIN : top_of(s.keyed));
    if (top <= lane.least_priority) continue;
    lane.least_priority = top;
    for (std::uint32_t n = lane.put; n != lane.got;) {
      pool_unit*& u = lane.at(--n);
      if (!u) continue;
      if (priority_of(*u) >= top || !lane.take_back(n, u->count)) break;
      pool_unit* const back = std::exchange(u, nullptr);
      lane.leave(*back);
      back->lane = -1;
      enqueue_front(*back);
    }
  }
}

// What waits behind something long goes to a worker that has nothing to do. `for_little`: also if it is hardly worth it.
void pool_core::help_idle_lanes(bool for_little) noexcept {
  for (seat& idle : seats_) {
    if (!idle.lane || idle.lane->in_flight != 0 || room(*idle.lane, 0) == 0) continue;
    bool found = false;
    for (std::uint64_t below = UINT64_MAX; !found;) {
      pool_lane* busiest = nullptr;
      for (seat& s : seats_)
        if (s.lane && s.lane->in_flight != 0 && s.lane->state != pool_lane::life::ended && s.lane->ahead_ns < below &&
            (!busiest || s.lane->ahead_ns > busiest->ahead_ns))
          busiest = s.lane.get();
      if (!busiest || (!for_little && busiest->ahead_ns < worth_moving_ns)) break;
      below = busiest->ahead_ns;
      pool_unit* const unit = take_from(*busiest);
      if (!unit) continue;
      found = true;
      if (!dispatch(*idle.lane, *unit)) {
        enqueue_front(*unit);
        return;
      }
    }
    if (!found) return;
  }
}

// The last unit that any worker may run; of one under way the half of what is not begun. Null: there is none.
pool_unit* pool_core::take_from(pool_lane& lane) noexcept {
  for (std::uint32_t n = lane.put; n != lane.got;) {
    pool_unit*& u = lane.at(--n);
    if (!u || seat_of(*u) >= 0) continue;
    if (lane.take_back(n, u->count)) {
      lane.leave(*u);
      u->lane = -1;
      return std::exchange(u, nullptr);
    }
    // It is being run, and all in front of it are over, or nearly.
    const std::uint32_t begun = lane.begun(n, u->count);
    return cut_off(lane, n, begun + (u->count - begun) / 2);
  }
  return nullptr;
}

// The items from `keep` on of a unit under way. Null: its worker was faster, or they cannot be cut off.
pool_unit* pool_core::cut_off(pool_lane& lane, std::uint32_t number, std::uint32_t keep) noexcept {
  pool_unit& u = *lane.at(number);
  const std::uint32_t count = u.count;
  if (keep >= count || lane.begun(number, count) > keep) return nullptr;
  if (u.extras && u.extras->fds.size() > u.extras->state_fds) return nullptr;  // the last item's cannot be given back
  try {
    std::unique_ptr<pool_unit> part(split(u, keep, count - keep));
    if (lane.take_back(number, count, keep)) {
      u.count = keep;
      const std::uint64_t rest = std::uint64_t{u.ns} * (count - keep) / count;
      lane.ahead_ns -= std::min(lane.ahead_ns, rest);
      u.ns -= static_cast<std::uint32_t>(rest);
      // All that is left of it may have its answer. Before the part: its job lives as long as items have none.
      end_if_resolved(lane, number);
      return part.release();
    }
    --outstanding_;
  } catch (...) {
    // No memory, or no descriptors: they stay where they are.
  }
  return nullptr;
}

void pool_core::end_if_resolved(pool_lane& lane, std::uint32_t number) noexcept {
  pool_unit* const u = lane.at(number);
  if (!u || u->resolved != u->count) return;
  if (u->job->options && u->job->options->on_progress) report_progress(lane);
  lane.at(number) = nullptr;
  lane.leave(*u);
  if (lane.kill && lane.kill->number == number) lane.kill.reset();
  finish_unit(*u);
}

std::uint32_t pool_core::function_number(const unit_function& f) {
  for (std::size_t i = functions_.size(); i-- > 0;)  // the newest is the likeliest
    if (functions_[i] == f) return static_cast<std::uint32_t>(i);
  const std::size_t count = functions_.size() + 1;
  function_ns_.resize(count);
  names_.resize(count);  // a death must not want memory for this
  functions_.push_back(f);
  return static_cast<std::uint32_t>(functions_.size() - 1);
}

bool pool_core::send_function(pool_lane& lane, std::uint32_t number) {
  if (number < lane.knows.size() && lane.knows[number]) return true;
  const unit_function& f = functions_[number];
  const task_record record{record_is::function, 0, number, 0, f.kind->takes_stop ? 1u : 0u, 0};
  const encoded message = encode_with([&](encoder& e) {
    e.raw(&record, sizeof record);
    write_value(e, f.kind->code);
    write_value(e, f.pointer != 0);
    if (f.pointer != 0) write_value(e, locate(f.pointer));
  });
  outgoing out;
  out.bytes = message.bytes;
  out.size = message.bytes.size();
  if (lane.tasks.shared()->put(role::sender, out, time_point::min()) != op_status::ok) return false;
  if (lane.knows.size() <= number) lane.knows.resize(number + 1);
  lane.knows[number] = true;
  return true;
}

// False: it did not fit, or the worker is gone; the unit is with nobody.
bool pool_core::dispatch(pool_lane& lane, pool_unit& u) noexcept {
  try {
    const std::uint32_t number = u.job->function;
    if (!send_function(lane, number)) return false;
    const auto flags = static_cast<std::uint16_t>(flags_of(*u.job) | (may_write(u) ? task_record::writes : 0));
    task_parcel parcel({record_is::unit, flags, number, u.id, u.count, u.attempt + 1u}, u.bytes);
    outgoing out = parcel.pack();
    if (u.extras) out.fds = u.extras->fds;
    // In the table first: its result may be there before put returns.
    u.lane = static_cast<std::int16_t>(lane.seat);
    u.number = lane.put;
    u.ns = static_cast<std::uint32_t>(std::min<std::uint64_t>(time_of(*u.job, u.count), UINT32_MAX));
    lane.at(lane.put) = &u;
    if (lane.tasks.shared()->put(role::sender, out, time_point::min()) != op_status::ok) {
      lane.at(lane.put) = nullptr;
      u.lane = -1;
      return false;
    }
    ++lane.put;
    lane.least_priority = std::min(lane.in_flight == 0 ? INT_MAX : lane.least_priority, priority_of(u));
    lane.enter(u);
    if (flags & task_record::watched) timed_ = true;
    return true;
  } catch (...) {
    // Too large, or no memory to say it: it will never go in.
    lane.at(lane.put) = nullptr;
    u.lane = -1;
    fail_unit(u, std::current_exception());
    return true;
  }
}

// Items of a unit as a unit of their own. `is_over`: of the rest nothing is needed any more. Throws: std::bad_alloc,
// error{out_of_resources}; then nothing has changed.
pool_unit* pool_core::split(pool_unit& u, std::uint32_t from, std::uint32_t count, bool is_over) {
  auto part = std::make_unique<pool_unit>();
  part->job = u.job;
  part->first = u.first + from;
  part->id = u.id + from;
  part->count = count;
  part->prefix = u.prefix;
  part->attempt = u.attempt;
  const auto all = u.bytes.view();
  const bool has_ends = u.extras && !u.extras->ends.empty();
  const auto end_of = [&](std::uint32_t item) -> std::size_t { return has_ends ? u.extras->ends[item] : all.size(); };
  const std::size_t begin = from == 0 ? u.prefix : end_of(from - 1);
  const std::size_t end = end_of(from + count - 1);
  const bool is_whole = is_over && from == 0 && count == u.count;
  if (!is_whole) {
    part->bytes.reserve(u.prefix + end - begin, &*heap_);
    part->bytes.append(all.first(u.prefix));
    part->bytes.append(all.subspan(begin, end - begin));
  }
  if (count > 1)
    for (std::uint32_t i = from; i < from + count; ++i)
      part->more().ends.push_back(static_cast<std::uint32_t>(end_of(i) - begin + u.prefix));
  if (u.extras) {
    unit_extras& old = *u.extras;
    unit_extras& own = part->more();
    own.deaths = old.deaths;
    own.seat = old.seat;
    own.state_fds = old.state_fds;
    own.fds.reserve(old.fds.size());
    for (std::size_t i = 0; i < old.state_fds; ++i) own.fds.push_back(duplicate(old.fds[i]));
    // The others are the last item's.
    if (from + count == u.count)
      for (std::size_t i = old.state_fds; i < old.fds.size(); ++i) own.fds.push_back(std::move(old.fds[i]));
  }
  if (is_whole) part->bytes.take(u.bytes);
  ++outstanding_;
  return part.release();
}

}  // namespace mp::detail
