// How children are stopped. Must wait for none beyond its policy, and must not forget one that does not end.

#include "mp/detail/call.hpp"
#include "supervisor_core.hpp"

#include <poll.h>
#include <algorithm>
#include <ranges>

namespace mp::detail {
namespace {

// A process that SIGKILL does not end within this sits in the kernel, or in a debugger.
constexpr std::chrono::seconds kernel_patience{2};

}  // namespace

void supervisor_core::stop_all(verdict& what) {
  const bool together = options_.strategy == mp::strategy::simple_one_for_one;
  const time_point now = std::chrono::steady_clock::now();
  if (together)
    for (const auto& s : seats_) ask(*s);
  share_ = static_cast<std::size_t>(std::ranges::count_if(seats_, [](const auto& s) { return s->is_active(); }));
  for (const auto& s : std::views::reverse(seats_)) {
    s->due.reset();
    const bool active = s->is_active();
    stop_seat(*s, together, now, what);
    if (active && !together) --share_;
  }
}

void supervisor_core::ask(seat& s) noexcept {
  if (!s.running) return;
  try {
    if (s.spec.shutdown.is_brutal()) return s.running->kill();
    s.running->request_stop();
    if (!call_of(s.spec.start)->wants_stop_token) s.running->terminate();
  } catch (...) {
    // It has ended.
  }
}

// In a hurry each that is left has an equal share of the time: one that stays must not cost the others their chance.
time_point supervisor_core::last_moment_of_one() const {
  const time_point all = last_moment();
  const time_point now = std::chrono::steady_clock::now();
  if (all == time_point::max() || all <= now || share_ <= 1) return all;
  return now + (all - now) / static_cast<std::int64_t>(share_);
}

void supervisor_core::stop_seat(seat& s, bool asked, time_point asked_at, verdict& what) {
  if (!s.is_active()) return;
  if (!asked) asked_at = std::chrono::steady_clock::now();
  const stop_policy& policy = s.spec.shutdown;
  const time_point until = deadline_after(asked_at, policy.limit());
  if (s.below) {
    s.below->stop_by(std::min(until, last_moment_of_one()), what);
    set_idle(s, s.info.last);
    return;
  }
  if (!asked) ask(s);
  bool killed = false;
  auto status = policy.is_brutal() ? std::nullopt : wait_end(s, until, true);
  if (!status) {
    killed = !policy.is_brutal();
    s.running->kill();
    status = wait_end(s, std::chrono::steady_clock::now() + kernel_patience, false);
  }
  const pid_t pid = s.running->pid();
  if (!status)
    what.leaked.push_back("child \"" + s.spec.name + "\" (pid " + std::to_string(pid) + ") did not end after SIGKILL");
  else
    (killed ? what.killed : what.ended).push_back({s.spec.name, pid, *status});
  set_idle(s, status);
}

std::optional<mp::exit_status> supervisor_core::wait_end(seat& s, time_point until, bool may_hurry) {
  time_point hurry = last_moment(), share = last_moment_of_one();
  for (;;) {
    if (auto status = s.running->exit_status()) return status;
    const time_point now = std::chrono::steady_clock::now();
    if (const time_point last = last_moment(); last != hurry) hurry = last, share = last_moment_of_one();
    const time_point then = may_hurry ? std::min(until, share) : until;
    if (now >= then) return std::nullopt;
    pollfd fds[2] = {{s.running->sentinel(), POLLIN, 0}, {bell_.fd(), POLLIN, 0}};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(std::min(then - now, time_point::duration(std::chrono::hours(1))));
    ::poll(fds, may_hurry ? 2 : 1, static_cast<int>(left.count()));
    if (fds[1].revents != 0) bell_.hush();  // a hurry, or a job that finds its turn later
    // Readable, and yet no status: it is being asked for elsewhere.
    if (fds[0].revents != 0)
      if (auto status = s.running->join_for(std::chrono::milliseconds(10))) return status;
  }
}

}  // namespace mp::detail
