#pragma once
/// @file
/// What a supervisor decides: pure functions, with the time and the chance as arguments.
///
/// Threads:  free functions and values.   Processes: any.
/// Source:   doc/decisions/0010-supervisors.md; OTP supervisor.erl.

#include "mp/duration.hpp"
#include "mp/restart_limits.hpp"
#include "mp/supervisor.hpp"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <string>
#include <vector>

namespace mp::detail {

/// What becomes of a child that has ended by itself.
enum class sequel {
  restart,
  rest,   ///< it stays without a process
  forget  ///< its specification goes, too
};

constexpr sequel after_end(mp::restart kind, bool success, bool is_dynamic) noexcept {
  if (kind == mp::restart::temporary) return sequel::forget;
  if (kind == mp::restart::permanent || !success) return sequel::restart;
  return is_dynamic ? sequel::forget : sequel::rest;
}

/// Who of `count` children, in the order of their start, goes down and up together with number `failed`.
struct restart_group {
  std::size_t first = 0, last = 0;  ///< [first, last)
};
constexpr restart_group group_of(mp::strategy s, std::size_t failed, std::size_t count) noexcept {
  switch (s) {
    case mp::strategy::one_for_all: return {0, count};
    case mp::strategy::rest_for_one: return {failed, count};
    case mp::strategy::one_for_one:
    case mp::strategy::simple_one_for_one: break;
  }
  return {failed, failed + 1};
}

enum class fate {
  runs_on,
  starts_again,  ///< after it was stopped, unless it had ended
  rests,
  is_forgotten
};

/// What becomes of child `one` of kind `kind` when child number `failed` has ended, of which `what` becomes. Temporary
/// children are not started again, not even with others.
constexpr fate fate_of(mp::strategy s, std::size_t one, mp::restart kind, std::size_t failed, sequel what) noexcept {
  if (one == failed) {
    switch (what) {
      case sequel::restart: return fate::starts_again;
      case sequel::rest: return fate::rests;
      case sequel::forget: return fate::is_forgotten;
    }
  }
  const restart_group group = group_of(s, failed, one + 1);
  if (what != sequel::restart || one < group.first || one >= group.last) return fate::runs_on;
  return kind == mp::restart::temporary ? fate::is_forgotten : fate::starts_again;
}

/// Does the supervisor stop by itself, after a significant child has ended for good and `left` others run?
constexpr bool ends_supervisor(mp::auto_shutdown when, std::size_t left) noexcept {
  return when == mp::auto_shutdown::any_significant || (when == mp::auto_shutdown::all_significant && left == 0);
}

/// How many restarts a supervisor may still do.
///
/// Threads:  thread-compatible.   Processes: any.
class restart_budget {
public:
  explicit restart_budget(const restart_limits& limits) : limits_(limits) {}
  /// Records one restart. False: the budget is spent; give up.
  [[nodiscard]] bool spend(time_point now) {
    // What is as old as the period still counts, as in OTP.
    std::erase_if(spent_, [&](time_point t) { return deadline_after(t, limits_.period) < now; });
    spent_.push_back(now);
    return std::ssize(spent_) <= limits_.intensity;
  }
  /// Restarts within the period, the last recorded one included.
  std::size_t recent() const noexcept { return spent_.size(); }

private:
  restart_limits limits_;
  std::deque<time_point> spent_;
};

/// How long to wait before try number `n` (from 1); `chance` in [0, 1).
inline duration pause_before(const back_off& b, std::size_t n, double chance) noexcept {
  using seconds = std::chrono::duration<double>;
  const double most = seconds(b.most.count()).count();
  double length = seconds(b.first.count()).count();
  const double factor = std::max(b.factor, 1.0);
  for (std::size_t i = 1; i < n && length < most && factor > 1; ++i) length *= factor;
  length = std::min(length, most);
  const double jitter = std::clamp(b.jitter, 0.0, 1.0);
  return seconds(length * (1 + jitter * (2 * chance - 1)));
}

/// What is wrong with a specification; empty: nothing.
std::string complaint(const child_spec& spec, mp::strategy in, mp::auto_shutdown when);
/// The same for all of a supervisor's, and its options.
std::string complaint(const supervisor_options& options, const std::vector<child_spec>& children);

}  // namespace mp::detail
