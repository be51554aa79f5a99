// What surrounds a worker: its process group, its signals, its streams; who follows it, and how soon.

#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "pool_tasks.hpp"
#include "support/figures.hpp"

#include <fcntl.h>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

bool ignores_interrupt() {
  struct sigaction now {};
  ::sigaction(SIGINT, nullptr, &now);
  return now.sa_handler == SIG_IGN;
}

struct surroundings {
  pid_t pid = 0, group = 0;
  bool ignores = false, blocks = false;
  std::string input{};
  long read = -1;  // what a read of the standard input gives
};
surroundings look(int) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  char word = 0;
  std::error_code problem;
  return {::getpid(),
          ::getpgrp(),
          ignores_interrupt(),
          ::sigismember(&blocked, SIGINT) != 0,
          std::filesystem::read_symlink("/proc/self/fd/0", problem).string(),
          ::read(STDIN_FILENO, &word, 1)};
}

/// Leads a group of its own, as a shell's foreground job does; interrupts that group while its pool works.
int interrupt_everybody(mp::start_method method) {
  if (::setpgid(0, 0) != 0) return 2;
  ::signal(SIGINT, [](int) {});  // not SIG_IGN: that would be inherited
  mp::pool p({.workers = 2, .start_method = method});
  auto busy = p.submit({.grace = patience}, until_stopped, 5);
  while (p.stats().running == 0) std::this_thread::yield();
  for (int again = 0; again < 5; ++again) {
    ::kill(0, SIGINT);
    if (p.map(cube, numbers(50)).at(49) != 117649) return 3;
  }
  if (!busy.cancel() || busy.get() != 5) return 4;
  return p.stats().worker_deaths == 0 ? 0 : 5;
}
void interrupt_in_a_process(mp::start_method method) {
  if (const int code = interrupt_everybody(method)) mp::this_process::exit(code);
}

/// Runs until its gate opens, whatever happens beside it.
int gate_of(mp::queue<int> said, mp::queue<int> gate) {
  said.put(::getpid());
  return gate.get();
}

}  // namespace

TEST_CASE("pool: a worker leads a process group of its own, ignores SIGINT, and reads nothing from its stdin",
          "[pool][worker]") {
  const fd_ledger ledger;
  const bool before = ignores_interrupt();
  for (const auto method :
       {mp::start_method::forkserver, mp::start_method::spawn, mp::start_method::fork_with_threads}) {
    CAPTURE(static_cast<int>(method));
    mp::pool p({.workers = 2, .start_method = method});
    const auto check = [&] {
      std::set<pid_t> groups;
      for (const surroundings& w : p.broadcast(look, 0)) {
        CHECK(w.group == w.pid);
        CHECK(w.ignores);
        CHECK_FALSE(w.blocks);
        CHECK(w.input == "/dev/null");
        CHECK(w.read == 0);
        groups.insert(w.group);
      }
      CHECK(groups.size() == 2);
      CHECK_FALSE(groups.contains(::getpgrp()));
    };
    check();
    // The one that takes a dead one's place, too.
    CHECK_ERRC(p.apply(end_worker, end::kill), worker_died);
    REQUIRE(eventually([&] { return p.stats().workers.size() == 2; }));
    check();
  }
  CHECK(ignores_interrupt() == before);  // ours is ours
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an interrupt from the keyboard, or one to a worker itself, ends no worker", "[pool][worker]") {
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    CAPTURE(static_cast<int>(method));
    mp::process job{interrupt_in_a_process, method};
    job.start();
    const auto status = job.join_for(patience);
    REQUIRE(status);
    CHECK(*status == mp::exit_status::exited(0));

    mp::pool p({.workers = 2, .start_method = method});
    auto busy = p.submit({.grace = patience}, until_stopped, 6);
    wait_until_running(p);
    for (const auto& w : p.stats().workers) ::kill(w.pid, SIGINT);
    CHECK(p.map(cube, numbers(50)).at(49) == 117649);
    CHECK(busy.cancel());
    CHECK(busy.get() == 6);
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: the seat of a task that was stopped by force serves the next one, and its neighbour never notices",
          "[pool][worker]") {
  const fd_ledger ledger;
  enum class way { cancelled, late, crashed };
  for (const way how : {way::cancelled, way::late, way::crashed}) {
    std::vector<std::int64_t> until_free;
    mp::pool p(2);
    mp::queue<int> said, gate;
    auto neighbour = p.submit(gate_of, said, gate);  // from here on one seat is left
    const auto its_pid = said.get_for(patience);
    REQUIRE(its_pid);
    std::set<pid_t> served;
    const int many = rounds(20, 300);
    for (int i = 0; i < many; ++i) {
      CAPTURE(static_cast<int>(how), i);
      const auto limit = how == way::late ? mp::deadline(5ms) : mp::deadline();
      auto bad = how == way::crashed ? p.submit(end_worker, end::kill) : p.submit({.deadline = limit}, spin, 0);
      auto next = p.submit(who, 0);  // there is no other seat for it
      if (how == way::cancelled) {
        wait_until_running(p, 2);
        CHECK(bad.cancel());
      }
      // From the moment at which the task has to end; a crash has ended when it is told.
      auto began = std::chrono::steady_clock::now();
      REQUIRE(bad.wait_for(patience));
      if (how != way::cancelled) began = std::chrono::steady_clock::now();
      REQUIRE(next.wait_for(patience));
      until_free.push_back((std::chrono::steady_clock::now() - began) / 1ns);
      CHECK(errc_of([&] { bad.get(); }) == (how == way::cancelled ? mp::errc::cancelled
                                            : how == way::late    ? mp::errc::deadline_exceeded
                                                                  : mp::errc::worker_died));
      const pid_t pid = next.get();
      CHECK(pid != *its_pid);
      CHECK(served.insert(pid).second);  // a new worker, each time
      CHECK_FALSE(neighbour.ready());
    }
    figure("a seat serves the next task after one that " +
           std::string(how == way::cancelled ? "was cancelled"
                       : how == way::late    ? "met its deadline"
                                             : "crashed") +
           ": " + spread(until_free));
    CHECK(p.stats().worker_deaths == static_cast<std::uint64_t>(many));
    const auto workers = p.stats().workers;
    CHECK(std::ranges::count(workers, *its_pid, &mp::worker_info::pid) == 1);
    gate.put(9);
    CHECK(neighbour.get_for(patience) == 9);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a long backlog is done by workers that are replaced again and again, also while it closes",
          "[pool][worker]") {
  const fd_ledger ledger;
  const int tasks = rounds(200, 10'000);
  for (const std::ptrdiff_t most : {1, 2, 3, 4, 5}) {
    CAPTURE(most);
    mp::pool p({.workers = 1, .max_tasks_per_worker = most});
    std::vector<mp::future<int>> all;
    for (int i = 0; i < tasks; ++i) all.push_back(p.submit(same, i));
    p.close();
    CHECK(p.join_for(long_form() ? 20 * long_patience : long_patience));
    int right = 0;
    for (int i = 0; i < tasks; ++i) right += all[static_cast<std::size_t>(i)].get_for(patience) == i;
    CHECK(right == tasks);
    CHECK(p.stats().worker_deaths == 0);
  }
  figure("workers replaced after each 1 to 5 tasks: 5 backlogs of " + std::to_string(tasks) + " tasks done");
  CHECK_CLEAN(ledger);
}
