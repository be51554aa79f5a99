// Starts, ends and restarts of children. Must count every restart before it is tried, so that no failure loops for free.

#include "mp/detail/async.hpp"
#include "mp/detail/call.hpp"
#include "mp/detail/process_hooks.hpp"
#include "mp/error.hpp"
#include "supervisor_core.hpp"

#include <algorithm>
#include <iterator>

namespace mp::detail {

std::size_t supervisor_core::position(const seat& s) const noexcept {
  const auto at = std::find_if(seats_.begin(), seats_.end(), [&](const auto& one) { return one.get() == &s; });
  return static_cast<std::size_t>(at - seats_.begin());
}

supervisor_core::seat& supervisor_core::find(std::string_view name) {
  for (const auto& s : seats_)
    if (s->spec.name == name) return *s;
  throw_error(errc::no_such_child, "supervisor: there is no child \"" + std::string(name) + "\"");
}

void supervisor_core::forget(const seat& s) {
  std::unique_ptr<seat> gone;  // destroyed outside of the lock
  const std::lock_guard lock(mutex_);
  const auto at = seats_.begin() + static_cast<std::ptrdiff_t>(position(s));
  gone = std::move(*at);
  seats_.erase(at);
}

void supervisor_core::set_idle(seat& s, std::optional<mp::exit_status> last) {
  if (s.mailbox) s.mailbox->vacate();
  std::optional<process> ended;
  std::shared_ptr<supervisor_core> below;
  const std::lock_guard lock(mutex_);
  ended = std::move(s.running);
  s.running.reset();
  below.swap(s.below);
  s.info.pid = 0;
  s.info.last = std::move(last);
}

void supervisor_core::start_seat(seat& s) {
  s.due.reset();
  s.by_hand = false;
  try {
    s.spec.supervise ? start_below(s) : start_process(s);
  } catch (const error& e) {
    if (e.code() != errc::cancelled) throw;
    throw_error(errc::closed, "supervisor: it was stopped while it started \"" + s.spec.name + "\"");
  }
  s.started = std::chrono::steady_clock::now();
}

void supervisor_core::start_below(seat& s) {
  auto below = begin(supervisor_plan(*supervisor_plan_of(s.spec.supervise)), &bell_);
  std::optional<time_point> stop_by;
  {
    const std::lock_guard lock(mutex_);
    starting_ = below;
    stop_by = stop_by_;
  }
  if (stop_by) below->hurry(*stop_by);  // whoever came before it was there to be found
  std::exception_ptr problem;
  try {
    below->wait_started();
  } catch (...) {
    problem = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    starting_.reset();
    if (!problem) s.below = below;
  }
  // Called off: who had been started there has been stopped with us.
  if (problem && must_stop()) {
    verdict v = below->result(false);
    std::move(v.ended.begin(), v.ended.end(), std::back_inserter(called_off_.ended));
    std::move(v.killed.begin(), v.killed.end(), std::back_inserter(called_off_.killed));
    std::move(v.leaked.begin(), v.leaked.end(), std::back_inserter(called_off_.leaked));
  }
  if (problem) std::rethrow_exception(problem);
}

void supervisor_core::start_process(seat& s) {
  process_options options = s.spec.options;
  if (options.name.empty()) options.name = s.spec.name;
  process fresh(std::move(options), s.spec.start);
  process_hooks::start(fresh, stop_bell_.fd());
  try {
    if (s.mailbox) s.mailbox->give_to(fresh);
  } catch (const error& e) {
    // It has ended already: we shall see that in a moment. Anything else is a child that cannot be reached.
    if (e.code() != errc::closed && e.code() != errc::peer_died) {
      fresh.kill();
      fresh.join();
      throw;
    }
  }
  const std::lock_guard lock(mutex_);
  s.info.pid = fresh.pid();
  s.running = std::move(fresh);
}

void supervisor_core::note_ends() {
  for (const std::uint64_t serial : std::exchange(ready_, {})) {
    const auto at = std::find_if(seats_.begin(), seats_.end(), [&](const auto& s) { return s->serial == serial; });
    if (at == seats_.end() || !(*at)->running || stopping_) continue;
    if (const auto status = (*at)->running->exit_status()) note_end(**at, *status);
  }
  for (std::size_t i = 0; i < seats_.size() && !stopping_; ++i) {
    seat& s = *seats_[i];
    if (!s.below || !s.below->has_ended()) continue;
    note_end(s, mp::exit_status::exited(s.below->gave_up() ? 1 : 0));
    i = static_cast<std::size_t>(-1);  // the list may be another now
  }
}

void supervisor_core::note_end(seat& s, const mp::exit_status& status) {
  if (std::chrono::steady_clock::now() > deadline_after(s.started, options_.restart.period)) s.tries = 0;
  set_idle(s, status);
  const auto what = after_end(s.spec.restart, status.success(), pattern_.has_value());
  if (what == sequel::restart) return plan_restart(s);
  tell(s, false);
  end_for_good(s, what == sequel::forget);
}

void supervisor_core::end_for_good(seat& s, bool is_forgotten) {
  const bool significant = s.spec.significant;
  if (is_forgotten) forget(s);
  if (!significant) return;
  const auto left = std::count_if(seats_.begin(), seats_.end(), [](const auto& one) {
    return one->spec.significant && (one->is_active() || one->due);
  });
  if (ends_supervisor(options_.auto_shutdown, static_cast<std::size_t>(left))) stopping_ = true;
}

void supervisor_core::plan_restart(seat& s) {
  {
    const std::lock_guard lock(mutex_);
    ++s.info.restarts;
  }
  if (!budget_.spend(std::chrono::steady_clock::now())) {
    tell(s, true);
    const std::lock_guard lock(mutex_);
    gave_up_ = "supervisor: it gave up: child \"" + s.spec.name + "\" " +
               (s.info.last && !s.info.last->is_unknown() ? to_string(*s.info.last) : "could not be started") +
               ", and more than " + std::to_string(options_.restart.intensity) + " restarts within " +
               std::to_string(std::chrono::duration<double>(options_.restart.period.count()).count()) +
               " s were needed: see why it ends, or raise .restart";
    stopping_ = true;
    return;
  }
  tell(s, false);
  const auto group = group_of(options_.strategy, position(s), seats_.size());
  verdict ignored;
  for (std::size_t i = group.last; i-- > group.first;) {
    seat& other = *seats_[i];
    if (&other == &s) continue;
    other.due.reset();
    stop_seat(other, false, {}, ignored);
    if (fate_of(options_.strategy, i, other.spec.restart, position(s), sequel::restart) == fate::is_forgotten)
      forget(other);
  }
  const double chance = std::uniform_real_distribution<double>(0, 1)(chance_);
  const time_point due =
      deadline_after(std::chrono::steady_clock::now(), pause_before(options_.restart.back_off, ++s.tries, chance));
  const auto now = group_of(options_.strategy, position(s), seats_.size());
  for (std::size_t i = now.first; i < now.last; ++i)
    if (!seats_[i]->by_hand && !seats_[i]->is_active()) seats_[i]->due = due;
  s.due = due;
}

void supervisor_core::start_due() {
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    seat& s = *seats_[i];
    if (!s.due || *s.due > std::chrono::steady_clock::now()) continue;
    if (stopping_ || must_stop()) return;
    try {
      start_seat(s);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception&) {
      if (must_stop()) return;  // called off: that is no end of the child's
      set_idle(s, mp::exit_status());
      plan_restart(s);
      return;  // the list and the times may be others now
    }
  }
}

void supervisor_core::tell(const seat& s, bool gave_up) noexcept {
  if (!options_.on_event) return;
  try {
    child_event event{s.spec.name, s.info.last.value_or(mp::exit_status()), s.info.restarts, gave_up};
    auto call = [f = options_.on_event, event = std::move(event)] { f(event); };
    if (options_.executor)
      options_.executor.post(std::move(call));
    else
      post_to(io_thread_ref(), std::move(call));
  } catch (...) {
    // No I/O thread any more, or an executor that throws: nobody hears of it.
  }
}

// -- jobs
// ---------------------------------------------------------------------------------------------------------------

void supervisor_core::add_child(child_spec spec) {
  if (pattern_) {
    const child_spec& p = *pattern_;
    if (!spec.start) spec.start = p.start;
    if (spec.name.empty()) spec.name = (p.name.empty() ? "child" : p.name) + "-" + std::to_string(next_serial_);
    spec.restart = p.restart;
    spec.shutdown = p.shutdown;
    spec.significant = p.significant;
    spec.options = p.options;
    spec.options.name.clear();
  }
  if (const auto problem = complaint(spec, options_.strategy, options_.auto_shutdown); !problem.empty())
    throw_error(errc::invalid_argument, "supervisor::start_child: " + problem);
  for (const auto& s : seats_)
    if (s->spec.name == spec.name)
      throw_error(errc::invalid_argument, "supervisor::start_child: the name \"" + spec.name + "\" is taken");
  auto fresh = std::make_unique<seat>(std::move(spec));
  fresh->serial = next_serial_++;
  fresh->info.name = fresh->spec.name;
  fresh->info.is_supervisor = static_cast<bool>(fresh->spec.supervise);
  start_seat(*fresh);
  const std::lock_guard lock(mutex_);
  seats_.push_back(std::move(fresh));
}

void supervisor_core::terminate_child(std::string_view name) {
  seat& s = find(name);
  verdict ignored;
  s.due.reset();
  s.by_hand = true;
  stop_seat(s, false, {}, ignored);
  if (pattern_ || s.spec.restart == mp::restart::temporary) forget(s);
}

void supervisor_core::restart_child(std::string_view name) {
  seat& s = find(name);
  if (s.is_active())
    throw_error(errc::still_running,
                "supervisor::restart_child: \"" + std::string(name) + "\" runs: terminate it first");
  start_seat(s);
}

void supervisor_core::delete_child(std::string_view name) {
  const seat& s = find(name);
  if (s.is_active() || s.due)
    throw_error(errc::still_running,
                "supervisor::delete_child: \"" + std::string(name) + "\" runs: terminate it first");
  forget(s);
}

mp::address supervisor_core::address_of(std::string_view name) {
  seat& s = find(name);
  if (s.spec.supervise)
    throw_error(errc::invalid_argument,
                "supervisor::address: \"" + std::string(name) + "\" is a supervisor, not a process");
  if (!s.mailbox) {
    auto fresh = std::make_unique<mail_seat>();
    try {
      if (s.running) fresh->give_to(*s.running);
    } catch (const error& e) {
      if (e.code() != errc::closed && e.code() != errc::peer_died) throw;
    }
    s.mailbox = std::move(fresh);
  }
  return s.mailbox->address();
}

}  // namespace mp::detail
