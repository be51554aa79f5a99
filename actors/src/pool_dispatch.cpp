// Which unit goes to which worker. Must never put a unit where it could wait behind another while a worker is idle, and
// must count an attempt only when a worker has claimed it.

#include "pool_core.hpp"

#include "mp/error.hpp"
#include "pool_policy.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <string>

namespace mp::detail {

namespace {

std::int64_t as_ns(time_point t) noexcept { return t.time_since_epoch().count(); }

}  // namespace

void pool_core::begin_unit(pool_job& job, pool_unit& unit) {
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

std::uint32_t pool_core::room(const pool_lane& lane) const noexcept {
  if (lane.state != pool_lane::life::running || lane.must_go || lane.kill) return 0;
  if (lane.put - lane.got >= lane_slots) return 0;
  std::uint64_t most = lane.most_in_flight;
  // A worker gets no more tasks than it may run. Chunks of several count when they are done: the last may exceed it.
  if (const auto limit = static_cast<std::uint64_t>(options_.max_tasks_per_worker); limit > 0)
    most = std::min(most, limit - std::min(limit, lane.tasks_done));
  return most > lane.in_flight
             ? std::min(static_cast<std::uint32_t>(most) - lane.in_flight, lane_slots - (lane.put - lane.got))
             : 0;
}

pool_lane* pool_core::best_lane() noexcept {
  pool_lane* best = nullptr;
  for (seat& s : seats_) {
    if (!s.lane || room(*s.lane) == 0) continue;
    if (s.lane->in_flight == 0) return s.lane.get();
    if (!best || s.lane->in_flight < best->in_flight) best = s.lane.get();
  }
  return best;
}

void pool_core::enqueue(pool_unit& u) noexcept {
  ++queued_;
  if (u.job->options && !u.job->options->key.empty())
    seats_[std::hash<std::string>()(u.job->options->key) % seats_.size()].keyed.push_back(&u);
  else
    backlog_[u.job->options ? u.job->options->priority : 0].push_back(&u);
}

void pool_core::enqueue_front(pool_unit& u) noexcept {
  ++queued_;
  if (u.job->options && !u.job->options->key.empty())
    seats_[std::hash<std::string>()(u.job->options->key) % seats_.size()].keyed.push_front(&u);
  else
    backlog_[u.job->options ? u.job->options->priority : 0].push_front(&u);
}

void pool_core::feed_lanes() noexcept {
  if (queued_ != 0) {
    for (seat& s : seats_)
      while (s.lane && !s.keyed.empty() && room(*s.lane) != 0) {
        pool_unit* const u = s.keyed.pop_front();
        --queued_;
        if (!dispatch(*s.lane, *u)) {
          enqueue_front(*u);
          break;
        }
      }
    for (auto it = backlog_.begin(); it != backlog_.end();) {
      unit_list& list = it->second;
      while (!list.empty()) {
        pool_lane* const lane = best_lane();
        if (!lane) return;
        pool_unit* const u = list.pop_front();
        --queued_;
        if (!dispatch(*lane, *u)) {
          enqueue_front(*u);
          return;
        }
      }
      it = backlog_.erase(it);
    }
  }
  help_idle_lanes();
}

// A unit that waits behind a long one goes to a worker that has nothing to do.
void pool_core::help_idle_lanes() noexcept {
  for (seat& idle : seats_) {
    if (!idle.lane || idle.lane->in_flight != 0 || room(*idle.lane) == 0) continue;
    pool_lane* busiest = nullptr;
    for (seat& s : seats_)
      if (s.lane && s.lane->in_flight > 1 && (!busiest || s.lane->in_flight > busiest->in_flight))
        busiest = s.lane.get();
    if (!busiest) return;
    bool found = false;
    for (std::uint32_t n = busiest->put; n != busiest->got && !found;) {
      pool_unit*& u = busiest->at(--n);
      if (!u || (u->job->options && !u->job->options->key.empty())) continue;
      if (!busiest->take_back(n)) break;  // it is being run, and so are all in front of it
      pool_unit* const unit = std::exchange(u, nullptr);
      --busiest->in_flight;
      unit->lane = -1;
      found = true;
      if (!dispatch(*idle.lane, *unit)) {
        enqueue_front(*unit);
        return;
      }
    }
    if (!found) return;
  }
}

std::uint32_t pool_core::function_number(const unit_function& f) {
  for (std::size_t i = functions_.size(); i-- > 0;)  // the newest is the likeliest
    if (functions_[i] == f) return static_cast<std::uint32_t>(i);
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

// A unit's record and its bytes; what is small goes through `room`, what is large is written where it stays.
struct pool_core::parcel {
  static constexpr std::size_t small = 1024;
  task_record record;
  std::span<const std::byte> rest;
  std::array<std::byte, small> room;

  void fill(std::span<std::byte> at) const noexcept {
    std::memcpy(at.data(), &record, sizeof record);
    if (!rest.empty()) std::memcpy(at.data() + sizeof record, rest.data(), rest.size());
  }
  outgoing pack() {
    outgoing out;
    out.size = sizeof record + rest.size();
    if (out.size <= small) {
      fill(room);
      out.bytes = std::span<const std::byte>(room.data(), out.size);
    } else {
      out.context = this;
      out.write = [](void* p, std::span<std::byte> at) { static_cast<const parcel*>(p)->fill(at); };
    }
    return out;
  }
};

// False: it did not fit, or the worker is gone; the unit is with nobody.
bool pool_core::dispatch(pool_lane& lane, pool_unit& u) noexcept {
  try {
    const std::uint32_t number = u.job->function;
    if (!send_function(lane, number)) return false;
    parcel p;
    p.record = task_record{record_is::unit, flags_of(*u.job), number, u.id, u.count, u.attempt + 1u};
    p.rest = u.bytes.view();
    outgoing out = p.pack();
    if (u.extras) out.fds = u.extras->fds;
    // In the table first: its result may be there before put returns.
    u.lane = static_cast<std::int16_t>(lane.seat);
    u.number = lane.put;
    lane.at(lane.put) = &u;
    if (lane.tasks.shared()->put(role::sender, out, time_point::min()) != op_status::ok) {
      lane.at(lane.put) = nullptr;
      u.lane = -1;
      return false;
    }
    ++lane.put;
    ++lane.in_flight;
    if (p.record.flags & task_record::watched) timed_ = true;
    return true;
  } catch (...) {
    // Too large, or no memory to say it: it will never go in.
    lane.at(lane.put) = nullptr;
    u.lane = -1;
    fail_unit(u, std::current_exception());
    return true;
  }
}

pool_unit* pool_core::split(pool_unit& u, std::uint32_t from, std::uint32_t count) {
  auto part = std::make_unique<pool_unit>();
  part->job = u.job;
  part->first = u.first + from;
  part->id = u.id + from;
  part->count = count;
  part->prefix = u.prefix;
  part->attempt = u.attempt;
  const auto all = u.bytes.view();
  const auto end_of = [&](std::uint32_t item) -> std::size_t {
    return u.count == 1 ? all.size() : u.extras->ends[item];
  };
  const std::size_t begin = from == 0 ? u.prefix : end_of(from - 1);
  const std::size_t end = end_of(from + count - 1);
  part->bytes.append(all.first(u.prefix));
  part->bytes.append(all.subspan(begin, end - begin));
  if (count > 1)
    for (std::uint32_t i = from; i < from + count; ++i)
      part->more().ends.push_back(static_cast<std::uint32_t>(end_of(i) - begin + u.prefix));
  if (u.extras && !u.extras->fds.empty() && count == u.count) part->more().fds = std::move(u.extras->fds);
  if (u.extras) part->more().deaths = u.extras->deaths;
  ++outstanding_;
  return part.release();
}

}  // namespace mp::detail
