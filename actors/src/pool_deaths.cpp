// A worker has died. What it said last is read before anything is decided; then each item is delivered, failed, or given
// to another, once.

#include "pool_core.hpp"

#include "mp/detail/async.hpp"
#include "mp/detail/process_hooks.hpp"
#include "mp/error.hpp"
#include "mp/remote_error.hpp"
#include "pool_policy.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <string>
#include <thread>

namespace mp::detail {

namespace {

// Did it end by a signal of its own doing?
bool has_crashed(const pool_lane& lane) noexcept {
  try {
    const auto status = lane.process.exit_status();
    return status && status->is_signaled() && status->signal() != SIGKILL && status->signal() != SIGTERM;
  } catch (...) {
    return false;
  }
}

// What is said of a death besides its tasks' answers: without memory for it, it goes unsaid.
template <class Tell>
void if_memory(Tell&& tell) noexcept {
  try {
    tell();
  } catch (...) {
  }
}

}  // namespace

// A lane that nobody uses any more. Not locked where the last owner lets go.
struct pool_core::remains {
  remains() noexcept = default;
  remains(const remains&) = delete;
  remains& operator=(const remains&) = delete;
  ~remains() {
    if (!lane) return;
    lane.reset();
    const locked lock(*core);
    --core->burials_;
    core->news_ = true;
  }
  std::shared_ptr<pool_core> core;
  std::unique_ptr<pool_lane> lane;  // null: not buried yet
};

std::shared_ptr<void> pool_core::make_remains() { return std::make_shared<remains>(); }

// Locked. What the dead or dying one may be running, as far as it has no name yet.
void pool_core::add_nameless(const pool_lane& lane, nameless& to) const {
  for (const pool_unit* u : lane.flight) {
    if (!u || !names_[u->job->function].empty()) continue;
    const auto is_there = [&](const auto& one) { return one.first == u->job->function; };
    if (std::none_of(to.begin(), to.end(), is_there)) to.emplace_back(u->job->function, functions_[u->job->function]);
  }
}

// Not locked. Names come from symbol tables, once a function.
void pool_core::name_functions(const nameless& wanted) {
  for (const auto& [number, f] : wanted) {
    std::string name = f.pointer ? name_function(f.pointer, f.kind->type) : std::string(f.kind->type);
    const locked lock(*this);
    names_[number] = std::move(name);
  }
}

// Locked. Its end has begun, and is not slept through: what takes longer has much memory to give back.
bool pool_core::may_be_awaited(const pool_lane& lane) const noexcept {
  constexpr std::chrono::milliseconds longest{5};
  return spin_length().count() != 0 && std::chrono::steady_clock::now() - *lane.dying_since < longest;
}

// Not locked; whoever waits, when the kernel has begun to take a worker apart. Its parent hears of it a fraction of a
// millisecond later: sooner than a thread that sleeps is woken by one that is woken.
void pool_core::await_dying(std::uint32_t known, time_point until) noexcept {
  struct dying {
    std::uint64_t serial = 0;
    std::shared_ptr<child> process;  // null: somebody is burying it
  };
  std::array<dying, 4> some;
  for (;;) {
    std::size_t n = 0;
    try {
      nameless wanted;
      std::unique_lock lock(mutex_);
      for (const seat& s : seats_) {
        pool_lane* const lane = s.lane.get();
        if (!lane || lane->in_flight == 0 || !lives_[lane->index].is_let_go() || n == some.size()) continue;
        if (!lane->dying_since) {
          lane->dying_since = std::chrono::steady_clock::now();
          add_nameless(*lane, wanted);
        }
        if (!may_be_awaited(*lane)) continue;
        some[n++] = {lane->serial,
                     lane->state == pool_lane::life::ended ? nullptr : process_hooks::child_of(lane->process)};
      }
      lock.unlock();
      name_functions(wanted);  // there is nothing better to do now
    } catch (...) {
    }
    if (n == 0 || std::chrono::steady_clock::now() >= until) return;
    // Seldom locked: whoever else has to do with this death must not wait for us.
    for (int turn = 0; turn < 16; ++turn) {
      for (std::size_t i = 0; i < n; ++i)
        if (some[i].process && process_hooks::is_known_to_have_ended(*some[i].process)) {
          on_end(some[i].serial, false);
          return;
        }
      if (news_told_.load(std::memory_order_acquire) != known) return;
      spin_turn();
      spin_yield();
    }
  }
}

// Not locked; any thread. The first one to say so buries it; where that may take long and the caller has no time for it,
// another thread does.
void pool_core::on_end(std::uint64_t serial, bool has_time) noexcept {
  bool has_nameless = false;  // functions that were never named yet
  pool_lane* which = nullptr;
  {
    const locked lock(*this);
    for (seat& s : seats_)
      if (s.lane && s.lane->serial == serial) which = s.lane.get();
    if (!which || which->state == pool_lane::life::ended) return;
    which->state = pool_lane::life::ended;  // from here on it is ours alone
    ++burials_;
    for (const pool_unit* u : which->flight) has_nameless = has_nameless || (u && names_[u->job->function].empty());
  }
  // Names come from symbol tables.
  if (!has_time && (has_nameless || has_crashed(*which))) try {
      std::thread([self = shared_from_this(), which] { self->find_and_bury(which); }).detach();
      return;
    } catch (...) {
    }
  find_and_bury(which);
}

// Not locked.
void pool_core::find_and_bury(pool_lane* which) noexcept {
  mp::post_mortem found;
  const auto last = std::static_pointer_cast<remains>(std::move(which->remains));
  last->core = shared_from_this();
  try {
    if (auto known = process_hooks::post_mortem(which->process)) found = std::move(*known);
    if (found.status.signal() == SIGKILL && !which->killed) found.why = oom_.explain();
    nameless wanted;
    {
      const locked lock(*this);
      add_nameless(*which, wanted);
    }
    name_functions(wanted);
  } catch (...) {
  }
  {
    const locked lock(*this);
    seat& s = *std::find_if(seats_.begin(), seats_.end(), [&](seat& one) { return one.lane.get() == which; });
    bury(*which, found);
    last->lane = std::move(s.lane);
    const bool in_task = which->kill || which->tasks_done != 0 || which->must_go;
    const bool failed = counts_as_failure(in_task, which->told_to_leave);
    lane_used_[which->index] = false;
    news_ = true;
    const auto number = static_cast<std::uint32_t>(&s - seats_.data());
    if (!terminated_ && !broken_ && s.wanted) {
      if (failed && !budget_.spend(std::chrono::steady_clock::now()))
        break_pool(broken_why_);
      else
        start_later(number, failed);
      // That takes longer than all of this; whoever waits for the answer may wait behind us for the processor.
      if (s.starting) s.last = last;
    }
    if (options_.on_worker_exit) {
      const bool replaced = !terminated_ && !broken_ && s.wanted && !(closed_ && outstanding_ == 0);
      if_memory([&] {
        worker_exit e{which->name, std::move(found), replaced};
        callbacks_.push_back([f = options_.on_worker_exit, e = std::move(e)] { f(e); });
      });
    }
    leave_if_over();
  }
  // The I/O thread lets its descriptor go before the channel closes it.
  if (!which->watch) return;
  try {
    post_to(io_thread_ref(), [last] {
      if (last->lane->watch->is_open()) last->lane->watch->release();
    });
  } catch (...) {
    // The library is ending, and so is what it watched.
  }
}

// Locked.
void pool_core::bury(pool_lane& lane, mp::post_mortem& found) noexcept {
  collect_lane(lane);
  if (lane.kill && lane.killed) found.why = lane.kill->why;
  const worker_phase phase = lane.page->phase.load(std::memory_order_acquire);
  if (options_.limits.memory && (phase == worker_phase::no_memory || found.failure.type_name == "std::bad_alloc"))
    found.why = death::memory_limit;
  bool in_task = false;
  unit_list again;
  for (std::uint32_t n = lane.got; n != lane.put; ++n) {
    pool_unit* const u = std::exchange(lane.at(n), nullptr);
    if (!u) continue;
    u->lane = -1;
    if (lane.begun(n, u->count) == 0) {
      again.push_back(u);
      continue;
    }
    const std::uint32_t begun = lane.begun(n, u->count);
    const bool is_last = lane.page->unit.load(std::memory_order_acquire) == n + 1;
    if (is_last) settle_draft(lane, *u, done_of(lane.page->progress.load(std::memory_order_acquire)));
    const std::uint32_t at = u->resolved;
    if (at == u->count) {
      finish_unit(*u);
      continue;
    }
    try {
      if (begun <= at) {  // between two items: nothing is lost
        again.push_back(split(*u, at, u->count - at, true));
      } else {
        in_task = true;
        if (at + 1 != u->count) again.push_back(split(*u, at + 1, u->count - at - 1));
        casualty_of(*u, at, found);
      }
      u->count = u->resolved;
      finish_unit(*u);
    } catch (...) {
      fail_unit(*u, std::current_exception());
    }
  }
  lane.in_flight = 0;
  lane.ahead_ns = 0;
  lane.must_go = lane.must_go || in_task;
  // In their order, in front of what waits.
  unit_list reversed;
  while (!again.empty()) {
    pool_unit* const u = again.pop_front();
    if (!is_unwanted(*u))
      reversed.push_front(u);
    else
      fail_unit(*u, cancelled_before());
  }
  while (!reversed.empty()) enqueue_front(*reversed.pop_front());
  if (!lane.told_to_leave || !found.status.success()) ++deaths_;
  // Of the pool's own end, that is.
  if_memory([&] {
    if (closed_ || broken_) (lane.killed ? ends_.killed : ends_.ended).push_back({lane.name, found.pid, found.status});
    if (in_task || lane.told_to_leave) return;
    broken_why_ = lane.name + " " + to_string(found.status);
    if (phase == worker_phase::initialising) broken_why_ += " in the initializer";
    if (!found.failure.what.empty()) broken_why_ += ": " + found.failure.what;
  });
}

// Locked. What a dead worker has done of its last unit lies in the pipe, which is empty now, or in the draft.
void pool_core::settle_draft(pool_lane& lane, pool_unit& u, std::uint32_t done) noexcept {
  const lane_page& page = *lane.page;
  done = std::min(done, u.count);
  if (done <= u.resolved || page.draft_unit.load(std::memory_order_relaxed) != u.number + 1) return;
  const std::uint32_t first = page.draft_first.load(std::memory_order_relaxed);
  const bool known = lane.peeked.unit == u.number && lane.peeked.first == first;
  if (first + (known ? lane.peeked.items : 0) != u.resolved) return;  // killed while it began anew: all is in the pipe
  const std::size_t from = known ? lane.peeked.bytes : 0;
  const std::size_t used =
      std::min(used_of(page.progress.load(std::memory_order_relaxed)), draft_bytes - sizeof(result_record));
  lane.tasks_done += done - u.resolved;
  on_values(u, done - u.resolved, {lane.draft + sizeof(result_record) + from, used - std::min(from, used)}, {});
}

// Locked. The item that its worker died in: retried, or failed with all that is known. The caller ends the unit.
void pool_core::casualty_of(pool_unit& u, std::uint32_t item, const mp::post_mortem& found) noexcept {
  try {
    mp::post_mortem death_of = found;
    death_of.task = u.id + item;
    death_of.attempt = u.attempt + 1;
    const std::uint32_t number = u.job->function;
    death_of.function =
        number < names_.size() && !names_[number].empty() ? names_[number] : std::string(functions_[number].kind->type);
    const retry& r = retry_of(*u.job);
    const casualty what = after_death(death_of.why, u.attempt + 1, r, is_unwanted(u));
    if (what == casualty::retry) {
      // What may fail comes first: a unit that was split off must find its place.
      std::vector<mp::post_mortem> deaths = u.more().deaths;
      deaths.push_back(std::move(death_of));
      pool_unit* const next = split(u, item, 1, true);
      ++next->attempt;
      next->extras->deaths = std::move(deaths);
      const double chance = std::uniform_real_distribution<>(0, 1)(chance_);
      next->extras->not_before =
          deadline_after(std::chrono::steady_clock::now(), pause_before(r.back_off, next->attempt, chance));
      delayed_.push_back(next);
      ++queued_;
      ++retried_;
      want_tick();
      return;
    }
    std::vector<mp::post_mortem> deaths;
    if (u.extras) deaths = u.extras->deaths;
    deaths.push_back(std::move(death_of));
    if (what == casualty::poison || what == casualty::died) {
      letters_.push_back({u.id + item, deaths.back().function, deaths});
      if (letters_.size() > 1000) letters_.pop_front();
    }
    if (what == casualty::cancelled) ++cancelled_;
    fail_item(u, item, std::make_exception_ptr(worker_died(code_of(what), std::move(deaths))));
  } catch (...) {
    fail_item(u, item, std::current_exception());
  }
}

}  // namespace mp::detail
