// Tasks that do to their process what no task should: fork, end threads, close or overwrite every descriptor, execute
// something else, stop. The pool must not wait for them, nor take a second answer.

#include "mp/process.hpp"
#include "pool_tasks.hpp"
#include "support/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <atomic>
#include <csetjmp>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

/// Returns in both copies; only the first waits for the other.
int return_twice(int x) {
  const pid_t copy = ::fork();
  if (copy == 0) return -1;
  int status = 0;
  ::waitpid(copy, &status, 0);
  return x;
}
std::atomic<int> calls{0};
/// As return_twice, by return or by exception. Its answer: how often this process ran it, and how its copy ended.
std::pair<int, int> count_calls(int x) {
  ++calls;
  const pid_t copy = ::fork();
  if (copy == 0 && x % 2 != 0) throw std::runtime_error("the copy");
  if (copy == 0) return {};
  int status = 0;
  ::waitpid(copy, &status, 0);
  return {calls.load(), WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}
int jump_within(int x) {
  std::jmp_buf here;
  if (const int came = setjmp(here)) return came;
  std::longjmp(here, x);
}
int end_thread(int) { ::pthread_exit(nullptr); }
int close_everything(int x) {
  ::close_range(0, ~0U, 0);
  return x;
}
int overwrite_everything(int x) {
  const int garbage = ::open("/dev/zero", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 256; ++fd)
    if (fd != garbage) ::dup2(garbage, fd);
  return x;
}
int become_another_program(int) {
  ::execl("/bin/true", "true", nullptr);
  return 1;
}
/// Its copy keeps all descriptors and stays, until the descriptor that it writes to has no reader.
int leave_a_daemon(mp::unique_fd says) {
  if (::fork() == 0) {
    ::setsid();
    while (::write(says.get(), "d", 1) == 1) continue;
    ::_exit(0);
  }
  end_by(end::kill);
}

int hold(mp::unique_fd) { hang(0); }
/// A pool whose workers hold copies of `held`, and stay. Says so through it.
int have_a_pool(mp::unique_fd held) {
  mp::pool inner(2);
  for (int i = 0; i < 2; ++i) static_cast<void>(inner.submit(hold, mp::unique_fd(::dup(held.get()))));
  while (inner.stats().running != 2) std::this_thread::yield();
  if (::write(held.get(), "r", 1) != 1) return 1;
  hang(0);
}
void have_nested_pools(mp::unique_fd held) { mp::pool(1).apply(have_a_pool, std::move(held)); }

void work_without_streams() {
  for (int fd = 0; fd < 3; ++fd) ::close(fd);
  mp::pool p(2);
  std::cout << "to nowhere";
  const bool works = p.map(cube, numbers(10)).at(9) == 729;
  const bool tells = death_in([&] { return p.apply(end_worker, end::segv); }).status.signal() == SIGSEGV;
  mp::this_process::exit(works && tells ? 0 : 1);
}

}  // namespace

TEST_CASE("pool: a task that forks and returns twice gives its answer once", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (int i = 0; i < 10; ++i) CHECK(p.apply(return_twice, i) == i);
    CHECK(p.map(return_twice, numbers(10), {.chunk = 2}) == numbers(10));
    CHECK(p.map(cube, numbers(100)).at(99) == 970299);
    const auto s = p.stats();
    CHECK(s.done == 120);
    CHECK(s.worker_deaths == 0);
  }
  {
    // A copy runs nothing of what follows in its chunk: it has no copies, and ends where it came back.
    mp::pool p(1);
    const auto told = p.map(count_calls, numbers(8), {.chunk = 8});
    for (int i = 0; i < 8; ++i) CHECK(told.at(static_cast<std::size_t>(i)) == std::pair(i + 1, 1));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: whoever of nested pools is killed, nobody below stays behind", "[pool][faults]") {
  const fd_ledger ledger;
  for (const bool first : {true, false}) {  // the process with the outer pool, or the worker that has the inner one
    CAPTURE(first);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const mp::unique_fd hears(ends[0]);
    mp::unique_fd held(ends[1]);
    // A byte, 0 at the end of the last process that holds the other end, or -1: patience is over.
    const auto hear = [&] {
      char word = 0;
      pollfd p{hears.get(), POLLIN, 0};
      return ::poll(&p, 1, static_cast<int>(patience / 1ms)) == 1 ? ::read(hears.get(), &word, 1) : -1;
    };
    if (first) {
      mp::process p{have_nested_pools, std::move(held)};
      p.start();
      REQUIRE(hear() == 1);
      p.kill();
      CHECK(hear() == 0);
      CHECK(p.join_for(patience));
    } else {
      mp::pool p(1);
      auto f = p.submit(have_a_pool, std::move(held));
      REQUIRE(hear() == 1);
      ::kill(p.stats().workers.at(0).pid, SIGKILL);
      REQUIRE(f.wait_for(patience));
      CHECK_ERRC(f.get(), worker_died);
      CHECK(hear() == 0);
      CHECK(p.apply(cube, 3) == 27);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a process whose streams are closed may have one", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::process p{work_without_streams};
    p.start();
    const auto status = p.join_for(patience);
    REQUIRE(status);
    CHECK(status->success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task that ends its thread ends its worker", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    auto f = p.submit(end_thread, 1);
    REQUIRE(f.wait_for(patience));
    CHECK_ERRC(f.get(), worker_died);
    CHECK(p.apply(cube, 3) == 27);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task may jump within itself; a jump that leaves it ends its worker at most", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK(p.map(jump_within, {1, 2, 3}) == std::vector{1, 2, 3});
    CHECK(p.stats().worker_deaths == 0);
    for (int again = 0; again < 3; ++again) {
      auto f = p.submit({.deadline = 2s}, end_worker, end::jump);
      const auto id = f.id();
      REQUIRE(f.wait_for(patience));
      const auto death = death_in([&] { return f.get(); });
      CHECK(death.status.is_signaled());
      CHECK(death.task == id);
      CHECK(p.apply(cube, 3) == 27);
    }
  }
  // To main, which still stands below everything in a worker, and returns: that ends it as any other main's return.
  for (const char* method : {"forkserver", "spawn"}) {
    const auto jumper = run_program({program_path("pool_jumper"), method});
    CAPTURE(method, jumper.out, jumper.err);
    CHECK(jumper.code == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task that closes or overwrites every descriptor is answered or dead, and the pool goes on",
          "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (int (*const task)(int) : {close_everything, overwrite_everything})
      for (int round = 0; round < 3; ++round) {
        auto f = p.submit({.deadline = 2s}, task, 4);
        REQUIRE(f.wait_for(patience));
        try {
          const int answer = f.get();
          CHECK(answer == 4);
        } catch (const mp::error& e) {
          CHECK((e.code() == mp::errc::worker_died || e.code() == mp::errc::deadline_exceeded));
        }
        auto next = p.map_async(cube, numbers(100));
        REQUIRE(next.wait_for(patience));
        CHECK(next.get().at(99) == 970299);
      }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task that executes another program ends with that program's status", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    auto f = p.submit(become_another_program, 1);
    REQUIRE(f.wait_for(patience));
    CHECK(death_in([&] { return f.get(); }).status == mp::exit_status::exited(0));
    CHECK(p.apply(cube, 3) == 27);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a daemon that a task leaves behind with its descriptors does not delay the news", "[pool][faults]") {
  const fd_ledger ledger;
  {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    mp::unique_fd hears(ends[0]);
    mp::pool p(2);
    auto f = p.submit(leave_a_daemon, mp::unique_fd(ends[1]));
    REQUIRE(f.wait_for(patience));
    CHECK_ERRC(f.get(), worker_died);
    CHECK(p.apply(cube, 3) == 27);
    char word = 0;
    CHECK(::read(hears.get(), &word, 1) == 1);  // it lives on
    hears.reset();                              // and ends
    p.close();
    CHECK(p.join_for(patience));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a stopped worker is not taken for dead, keeps nobody up, and its deadline ends it", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    auto f = p.submit({.grace = patience}, until_stopped, 4);
    wait_until_running(p);
    const auto busy = [&] {
      for (const auto& w : p.stats().workers)
        if (w.task == f.id()) return w.pid;
      return pid_t{0};
    }();
    REQUIRE(busy > 0);
    REQUIRE(::kill(busy, SIGSTOP) == 0);
    CHECK(p.map(cube, numbers(200)).at(99) == 970299);
    CHECK(p.stats().worker_deaths == 0);
    CHECK_FALSE(f.ready());
    REQUIRE(::kill(busy, SIGCONT) == 0);
    CHECK(f.cancel());
    CHECK(f.get() == 4);

    auto late = p.submit(
        {.deadline = 100ms},
        [](int) -> int {
          ::raise(SIGSTOP);
          return 1;
        },
        0);
    REQUIRE(late.wait_for(patience));
    CHECK(death_in([&] { return late.get(); }).why == mp::death::deadline);
  }
  CHECK_CLEAN(ledger);
}
