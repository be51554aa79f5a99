// What a supervisor decides, as matrices: no process, no clock.

#include "supervisor_policy.hpp"
#include "support/catch.hpp"

#include <signal.h>
#include <array>
#include <string>

using namespace std::chrono_literals;
using mp::detail::after_end;
using mp::detail::complaint;
using mp::detail::ends_supervisor;
using mp::detail::fate;
using mp::detail::fate_of;
using mp::detail::group_of;
using mp::detail::pause_before;
using mp::detail::restart_budget;
using mp::detail::sequel;

namespace {

constexpr mp::time_point start{};

void nothing() {}

mp::child_spec spec(const std::string& name) { return {.name = name, .start = nothing}; }

bool says(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

}  // namespace

// Four children of which number 1 ends; the others are permanent, transient and temporary. '=' runs on, 'A' starts again,
// 'r' stays without a process, '-' is forgotten. With simple_one_for_one all are of the kind of the one that ends.
TEST_CASE("supervisor policy: strategy x restart kind x reason decide what becomes of whom", "[supervisor][unit]") {
  using mp::exit_status, mp::restart, mp::strategy;
  const exit_status good[] = {exit_status::exited(0)};
  const exit_status bad[] = {exit_status::exited(1),
                             exit_status::exited(255),
                             exit_status::signaled(SIGTERM),
                             exit_status::signaled(SIGKILL),
                             exit_status::signaled(SIGSEGV),
                             exit_status::signaled(SIGABRT, true),
                             exit_status() /* unknown */};
  struct row {
    strategy how;
    restart kind;
    std::string after_good, after_bad;
  };
  for (const row& r : {
           row{strategy::one_for_one, restart::permanent, "=A==", "=A=="},
           row{strategy::one_for_one, restart::transient, "=r==", "=A=="},
           row{strategy::one_for_one, restart::temporary, "=-==", "=-=="},
           row{strategy::one_for_all, restart::permanent, "AAA-", "AAA-"},
           row{strategy::one_for_all, restart::transient, "=r==", "AAA-"},
           row{strategy::one_for_all, restart::temporary, "=-==", "=-=="},
           row{strategy::rest_for_one, restart::permanent, "=AA-", "=AA-"},
           row{strategy::rest_for_one, restart::transient, "=r==", "=AA-"},
           row{strategy::rest_for_one, restart::temporary, "=-==", "=-=="},
           row{strategy::simple_one_for_one, restart::permanent, "=A==", "=A=="},
           row{strategy::simple_one_for_one, restart::transient, "=-==", "=A=="},
           row{strategy::simple_one_for_one, restart::temporary, "=-==", "=-=="},
       }) {
    const bool same = r.how == strategy::simple_one_for_one;
    const restart kinds[] = {same ? r.kind : restart::permanent, r.kind, same ? r.kind : restart::transient,
                             same ? r.kind : restart::temporary};
    const auto check = [&](const exit_status& reason, const std::string& expected) {
      const sequel what = after_end(r.kind, reason.success(), same);
      std::string found;
      for (std::size_t i = 0; i < 4; ++i) switch (fate_of(r.how, i, kinds[i], 1, what)) {
          case fate::runs_on: found += '='; break;
          case fate::starts_again: found += 'A'; break;
          case fate::rests: found += 'r'; break;
          case fate::is_forgotten: found += '-'; break;
        }
      CAPTURE(static_cast<int>(r.how), static_cast<int>(r.kind), to_string(reason));
      CHECK(found == expected);
    };
    for (const auto& reason : good) check(reason, r.after_good);
    for (const auto& reason : bad) check(reason, r.after_bad);
  }
}

TEST_CASE("supervisor policy: strategy x position decide who is started again", "[supervisor][unit]") {
  using mp::strategy;
  struct row {
    strategy how;
    std::size_t failed, first, last;
  };
  for (const row& r : {
           row{strategy::one_for_one, 0, 0, 1},
           row{strategy::one_for_one, 1, 1, 2},
           row{strategy::one_for_one, 3, 3, 4},
           row{strategy::one_for_all, 0, 0, 4},
           row{strategy::one_for_all, 1, 0, 4},
           row{strategy::one_for_all, 3, 0, 4},
           row{strategy::rest_for_one, 0, 0, 4},
           row{strategy::rest_for_one, 1, 1, 4},
           row{strategy::rest_for_one, 3, 3, 4},
           row{strategy::simple_one_for_one, 0, 0, 1},
           row{strategy::simple_one_for_one, 2, 2, 3},
       }) {
    CAPTURE(static_cast<int>(r.how), r.failed);
    const auto group = group_of(r.how, r.failed, 4);
    CHECK(group.first == r.first);
    CHECK(group.last == r.last);
  }
}

TEST_CASE("supervisor policy: the budget is spent by more restarts than the intensity within the period",
          "[supervisor][unit]") {
  SECTION("too fast") {
    restart_budget budget({.intensity = 3, .period = 5s});
    CHECK(budget.spend(start));
    CHECK(budget.spend(start + 1s));
    CHECK(budget.spend(start + 2s));
    CHECK_FALSE(budget.spend(start + 5s));
  }
  SECTION("slow enough: old ones are forgotten") {
    restart_budget budget({.intensity = 3, .period = 5s});
    for (int i = 0; i < 100; ++i) CHECK(budget.spend(start + i * 2s));
    CHECK(budget.recent() == 3);
  }
  SECTION("what is exactly as old as the period still counts") {
    restart_budget budget({.intensity = 1, .period = 5s});
    CHECK(budget.spend(start));
    CHECK_FALSE(budget.spend(start + 5s));
    CHECK_FALSE(budget.spend(start + 5s + 1ns));
    CHECK(budget.spend(start + 11s));
  }
  SECTION("none at all") {
    restart_budget budget({.intensity = 0, .period = 5s});
    CHECK_FALSE(budget.spend(start));
  }
  SECTION("a period without end") {
    restart_budget budget({.intensity = 2, .period = mp::duration::forever()});
    CHECK(budget.spend(start));
    CHECK(budget.spend(start + std::chrono::hours(100000)));
    CHECK_FALSE(budget.spend(start + std::chrono::hours(200000)));
  }
}

TEST_CASE("supervisor policy: pauses grow by the factor to the most, and vary by the jitter", "[supervisor][unit]") {
  const mp::back_off even{.first = 10ms, .most = 1s, .factor = 2, .jitter = 0};
  const std::array expected{10ms, 20ms, 40ms, 80ms, 160ms, 320ms, 640ms, 1000ms, 1000ms};
  for (std::size_t n = 1; n <= expected.size(); ++n) {
    const auto pause = pause_before(even, n, 0.5).count();
    CHECK(std::chrono::abs(pause - expected[n - 1]) < 1us);
  }
  CHECK(pause_before(even, 1'000'000'000, 0.5).count() <= 1s);

  const mp::back_off jumpy{.first = 100ms, .most = 1s, .factor = 2, .jitter = 0.2};
  CHECK(std::chrono::abs(pause_before(jumpy, 1, 0).count() - 80ms) < 1us);
  CHECK(pause_before(jumpy, 1, 0.999).count() < 120ms);
  CHECK(pause_before(jumpy, 1, 0.999).count() > 119ms);
}

TEST_CASE("supervisor policy: a strange back-off gives neither a storm nor a negative pause", "[supervisor][unit]") {
  CHECK(pause_before({.first = 10ms, .most = 1s, .factor = 0, .jitter = 0}, 5, 0).count() == 10ms);
  CHECK(pause_before({.first = 10ms, .most = 5ms, .factor = 2, .jitter = 0}, 1, 0).count() == 5ms);
  CHECK(pause_before({.first = 10ms, .most = 1s, .factor = 2, .jitter = 7}, 1, 0).count() == 0ns);
  CHECK(pause_before({.first = mp::duration(), .most = 1s}, 3, 0.5).count() == 0ns);
  CHECK(pause_before({.first = 1s, .most = mp::duration::forever(), .factor = 1e300}, 100, 0.9).is_forever());
}

TEST_CASE("supervisor policy: auto_shutdown x significant children that are left", "[supervisor][unit]") {
  using mp::auto_shutdown;
  CHECK_FALSE(ends_supervisor(auto_shutdown::never, 0));
  CHECK_FALSE(ends_supervisor(auto_shutdown::never, 2));
  CHECK(ends_supervisor(auto_shutdown::any_significant, 0));
  CHECK(ends_supervisor(auto_shutdown::any_significant, 2));
  CHECK(ends_supervisor(auto_shutdown::all_significant, 0));
  CHECK_FALSE(ends_supervisor(auto_shutdown::all_significant, 1));
}

TEST_CASE("supervisor policy: a wrong specification is told in one sentence", "[supervisor][unit]") {
  using mp::auto_shutdown, mp::strategy;
  const auto one = [](mp::child_spec s, strategy in = strategy::one_for_one) {
    return complaint(s, in, auto_shutdown::never);
  };
  CHECK(one(spec("a")).empty());
  CHECK(says(one(spec("")), "without a name"));
  CHECK(says(one({.name = "a"}), "neither"));
  CHECK(says(one({.name = "a", .start = nothing, .supervise = {{}, {}}}), "both"));
  CHECK(says(one({.name = "a", .start = nothing, .significant = true}), "permanent"));
  CHECK(says(one({.name = "a", .start = nothing, .restart = mp::restart::transient, .significant = true}), "never"));
  CHECK(says(one({.name = "a", .supervise = {{}, {spec("b"), spec("b")}}}), "two children are named \"b\""));
  CHECK(says(one({.name = "a", .supervise = {{}, {}}}, strategy::simple_one_for_one), "simple_one_for_one"));

  CHECK(complaint(mp::supervisor_options{}, {}).empty());
  CHECK(says(complaint({.restart = {.intensity = -1}}, {}), "intensity"));
  CHECK(says(complaint({.restart = {.period = 0s}}, {}), "period"));
  CHECK(says(complaint({.strategy = strategy::simple_one_for_one}, {}), "pattern"));
  CHECK(complaint({.strategy = strategy::simple_one_for_one}, {mp::child_spec{}}).empty());
  CHECK(says(complaint(mp::supervisor_options{}, {spec("a"), spec("a")}), "two children"));
}
