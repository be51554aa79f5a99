// What a pool decides, as matrices: no process, no clock.

#include "pool_policy.hpp"
#include "oom_watch.hpp"
#include "support/catch.hpp"

#include <unistd.h>
#include <cstdlib>
#include <fstream>
#include <string>

using namespace mp::detail;

TEST_CASE("pool policy: as much work waits in front of a worker as two wake-ups are worth", "[pool][policy][unit]") {
  struct row {
    std::uint64_t ahead_ns;
    bool idle;
    std::uint64_t ns;
    std::uint32_t more;
  };
  for (const row& r : {row{0, true, unknown_ns, 1},      // not known: one, and look
                       row{unknown_ns, false, 100, 0},   // behind that nothing waits
                       row{0, true, 100, 502},           //
                       row{25'000, false, 100, 252},     //
                       row{50'201, false, 100, 0},       //
                       row{0, true, 10, 512},            // more than a lane has places
                       row{0, true, 10'000, 7},          //
                       row{0, true, 100'000, 2},         // the next one is there when this one is done
                       row{100'000, false, 100'000, 1},  //
                       row{200'000, false, 100'000, 0},  //
                       row{0, true, 4'999'999, 2},       //
                       row{0, true, 5'000'000, 1},       //
                       row{100, false, 5'000'000, 0},    //
                       row{0, true, UINT64_MAX, 1}}) {
    CAPTURE(r.ahead_ns, r.idle, r.ns);
    CHECK(more_in_flight(r.ahead_ns, r.idle, r.ns, 512) == r.more);
  }
}

TEST_CASE("pool policy: chunks are as long as the clock says, and small at the end", "[pool][policy][unit]") {
  struct row {
    std::uint64_t given, item_ns, left, workers;
    std::uint32_t chunk;
  };
  for (const row& r : {row{0, 0, 1000, 2, 1},                         // nothing is known
                       row{7, 0, 1000, 2, 7},                         // the user knows
                       row{7, 2000, 3, 2, 7},                         // always
                       row{1, 125, 1'000'000, 2, 100},                // small ones travel together: 12.5 us
                       row{7, 125, 1'000'000, 2, 98},                 // whole chunks
                       row{7, 125, 100, 2, 7},                        // a share of what is left
                       row{1, 20'000, 1'000'000, 2, 1},               // long ones go alone
                       row{0, 300, 1'000'000, 2, 1000},               // 300 us
                       row{0, 300, 80, 2, 10},                        // a share of what is left
                       row{0, 300, 3, 2, 1},                          //
                       row{0, 10'000'000, 1000, 2, 1},                // long ones go alone
                       row{0, 1, UINT64_MAX, 2, most_items_of_unit},  // nobody knows how many
                       row{0, 3000, UINT64_MAX, 2, 100},              //
                       row{1'000'000, 0, 10, 2, most_items_of_unit}}) {
    CAPTURE(r.given, r.item_ns, r.left, r.workers);
    CHECK(next_chunk(r.given, r.item_ns, r.left, r.workers) == r.chunk);
  }
}

TEST_CASE("pool policy: what becomes of an item whose worker died in it", "[pool][policy][unit]") {
  using mp::death;
  const mp::retry once{}, thrice{.attempts = 3, .idempotent = true};
  struct row {
    death why;
    int attempts;
    const mp::retry* retry;
    bool stop_asked;
    casualty becomes;
  };
  for (const row& r :
       {row{death::signaled, 1, &once, false, casualty::died}, row{death::exited, 1, &once, false, casualty::died},
        row{death::unknown, 1, &once, false, casualty::died}, row{death::deadline, 1, &once, false, casualty::late},
        row{death::cancelled, 1, &once, false, casualty::cancelled},
        row{death::signaled, 1, &once, true, casualty::cancelled},
        row{death::signaled, 1, &thrice, false, casualty::retry},
        row{death::signaled, 2, &thrice, false, casualty::retry},
        row{death::signaled, 3, &thrice, false, casualty::poison},
        row{death::deadline, 1, &thrice, false, casualty::retry},
        row{death::deadline, 3, &thrice, false, casualty::late},
        row{death::cancelled, 1, &thrice, false, casualty::cancelled},
        row{death::signaled, 1, &thrice, true, casualty::cancelled}}) {
    CAPTURE(static_cast<int>(r.why), r.attempts, r.retry->attempts, r.stop_asked);
    CHECK(after_death(r.why, r.attempts, *r.retry, r.stop_asked) == r.becomes);
  }
  CHECK(code_of(casualty::died) == mp::errc::worker_died);
  CHECK(code_of(casualty::poison) == mp::errc::task_poisoned);
  CHECK(code_of(casualty::late) == mp::errc::deadline_exceeded);
  CHECK(code_of(casualty::cancelled) == mp::errc::cancelled);
}

TEST_CASE("pool policy: only ends without a task and without being told spend the budget", "[pool][policy][unit]") {
  CHECK(counts_as_failure(false, false));
  CHECK_FALSE(counts_as_failure(true, false));
  CHECK_FALSE(counts_as_failure(false, true));
  CHECK_FALSE(counts_as_failure(true, true));
}

TEST_CASE("pool policy: the kernel's count of OOM kills is found where it stands", "[pool][policy][unit]") {
  CHECK(oom_kills_in("low 0\nhigh 2\noom 5\noom_kill 3\noom_group_kill 1\n") == 3u);
  CHECK(oom_kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n") == 7u);
  CHECK(oom_kills_in("oom_kill 0") == 0u);
  for (const char* none : {"", "oom 5\n", "xoom_kill 3\n", "oom_kill x\n", "oom_kill_disable 1\n"}) {
    CAPTURE(none);
    CHECK_FALSE(oom_kills_in(none));
  }
  using files = std::vector<std::string>;
  CHECK(oom_files("0::/user.slice/a b\n") == files{"/sys/fs/cgroup/user.slice/a b/memory.events", "/proc/vmstat"});
  CHECK(oom_files("5:cpu,memory:/x\n1:name=systemd:/\n0::/\n") ==
        files{"/sys/fs/cgroup/memory/x/memory.oom_control", "/sys/fs/cgroup/memory.events", "/proc/vmstat"});
  CHECK(oom_files("nonsense\n::\n") == files{"/sys/fs/cgroup/memory.events", "/proc/vmstat"});
}

TEST_CASE("pool policy: only a count that has moved makes it the OOM killer", "[pool][policy]") {
  std::string path = "/tmp/libmp_oom_XXXXXX";
  const int fd = ::mkstemp(path.data());
  REQUIRE(fd >= 0);
  ::close(fd);
  const auto write = [&](const char* text) { std::ofstream(path) << text; };
  write("oom_kill 4\n");
  oom_watch watch(path);
  CHECK(watch.explain() == mp::death::signaled);
  write("oom_kill 5\n");
  CHECK(watch.explain() == mp::death::oom_killer);
  CHECK(watch.explain() == mp::death::signaled);
  ::unlink(path.c_str());
  CHECK(watch.explain() == mp::death::unknown);
  CHECK(oom_watch("/nowhere/at/all").explain() == mp::death::unknown);
  CHECK(oom_watch().explain() != mp::death::oom_killer);
}
