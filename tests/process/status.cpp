// How children end, and that nobody can make us believe something else. FAULTS 22, 23, 24, 38, 39, 73, 79, 84.

#include "process_support.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace mp_test;

namespace {

enum class way {
  ret,
  exit0,
  exit1,
  exit255,
  exit256,
  quick,
  raw,
  sigkill,
  sigsegv,
  sigabrt,
  sigbus,
  sigfpe,
  null_write,
  own_throw,
  overflow,
  thread_exit,
  thread_cancel
};

[[gnu::noinline]] int recurse(int depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : recurse(depth + 1) + frame[0];
}

void end_by(way w) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  switch (w) {
    case way::ret: return;
    case way::exit0: std::exit(0);
    case way::exit1: mp::this_process::exit(1);
    case way::exit255: std::exit(255);
    case way::exit256: std::exit(256);
    case way::quick: std::quick_exit(4);
    case way::raw: ::_exit(17);
    case way::sigkill: ::raise(SIGKILL); break;
    case way::sigsegv: ::kill(::getpid(), SIGSEGV); break;
    case way::sigabrt: std::abort();
    case way::sigbus: ::raise(SIGBUS); break;
    case way::sigfpe: ::raise(SIGFPE); break;
    case way::null_write: *static_cast<volatile int*>(nullptr) = 1; break;
    case way::own_throw: throw 42;
    case way::overflow: recurse(1); break;
    case way::thread_exit: ::pthread_exit(nullptr);
    case way::thread_cancel: ::pthread_cancel(::pthread_self()); ::pthread_testcancel();
  }
  wait_for_ever();
}

struct expectation {
  way how;
  mp::exit_status status;
};
const std::vector<expectation> table{{way::ret, mp::exit_status::exited(0)},
                                     {way::exit0, mp::exit_status::exited(0)},
                                     {way::exit1, mp::exit_status::exited(1)},
                                     {way::exit255, mp::exit_status::exited(255)},
                                     {way::exit256, mp::exit_status::exited(0)},
                                     {way::quick, mp::exit_status::exited(4)},
                                     {way::raw, mp::exit_status::exited(17)},
                                     {way::sigkill, mp::exit_status::signaled(SIGKILL)},
                                     {way::sigsegv, mp::exit_status::signaled(SIGSEGV)},
                                     {way::sigabrt, mp::exit_status::signaled(SIGABRT)},
                                     {way::sigbus, mp::exit_status::signaled(SIGBUS)},
                                     {way::sigfpe, mp::exit_status::signaled(SIGFPE)},
                                     {way::null_write, mp::exit_status::signaled(SIGSEGV)},
                                     {way::own_throw, mp::exit_status::exited(1)},
                                     {way::overflow, mp::exit_status::signaled(SIGSEGV)},
                                     {way::thread_exit, mp::exit_status::exited(0)},
                                     {way::thread_cancel, mp::exit_status::exited(0)}};

struct unreaped {
  struct sigaction before {};
  unreaped() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGCHLD, &ignore, &before);
  }
  ~unreaped() { ::sigaction(SIGCHLD, &before, nullptr); }
};

// The kernel's memory of a status behind a pidfd: Linux 6.15 and later.
bool kernel_remembers() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  const mp::unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ::waitpid(pid, nullptr, 0);
  struct {
    std::uint64_t mask = 8, rest[7] = {};
  } info;
  return ::ioctl(pidfd.get(), _IOWR(0xFF, 11, info), &info) == 0 && (info.mask & 8) != 0;
}

}  // namespace

TEST_CASE("process: every way to end is told exactly, under every start method", "[process][faults]") {
  const auto method = any_method();
  const fd_ledger ledger;
  for (const auto& [how, expected] : table) {
    CAPTURE(static_cast<int>(method), static_cast<int>(how));
    mp::process p({.start_method = method, .err = mp::stdio::null()}, end_by, how);
    p.start();
    REQUIRE(readable(p.sentinel()));
    const auto status = p.join();
    CAPTURE(mp::to_string(status));
    CHECK(status.code() == expected.code());
    CHECK(status.signal() == expected.signal());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: pthread_exit in the function unwinds it, and the process ends in order with code 0",
          "[process][faults]") {
  const auto method = any_method();
  const auto child = run_and_read({.start_method = method}, [] {
    struct speaks {
      ~speaks() { std::cout << "unwound, "; }
    } const on_the_stack;
    mp::at_exit([] { std::cout << "hook"; });
    std::thread([] { wait_for_ever(); }).detach();
    ::pthread_exit(nullptr);
  });
  CHECK(child.out == "unwound, hook");
  CHECK(child.status == mp::exit_status::exited(0));
}

TEST_CASE("process: a child that is stopped has not ended, and a kill ends it all the same", "[process][faults]") {
  const auto method = any_method();
  mp::process p({.start_method = method}, [] { ::raise(SIGSTOP); });
  p.start();
  CHECK(eventually([&] {
    std::ifstream stat("/proc/" + std::to_string(p.pid()) + "/stat");
    const std::string text{std::istreambuf_iterator<char>(stat), {}};
    return text.find(") T ") != std::string::npos;
  }));
  CHECK(p.is_alive());
  p.terminate();
  CHECK(p.is_alive());
  p.kill();
  CHECK(p.join() == mp::exit_status::signaled(SIGKILL));
}

TEST_CASE("process: an ignored SIGCHLD does not change a status", "[process][faults]") {
  const auto method = any_method();
  if (method != mp::start_method::forkserver && !kernel_remembers())
    MP_SKIP("this kernel forgets statuses of reaped children");
  const unreaped ignored;
  for (const auto& [how, expected] : {table[6], table[7], table[0], table[3]}) {
    CAPTURE(static_cast<int>(method), static_cast<int>(how));
    mp::process p({.start_method = method}, end_by, how);
    CHECK(p.start().join() == expected);
  }
}

TEST_CASE("process: a thread that reaps everything does not change a status", "[process][faults]") {
  const auto method = any_method();
  if (method != mp::start_method::forkserver && !kernel_remembers())
    MP_SKIP("this kernel forgets statuses of reaped children");
  warm_up();
  std::atomic<bool> enough{false};
  std::jthread thief([&] {
    while (!enough) {
      ::waitpid(-1, nullptr, WNOHANG);
      std::this_thread::yield();
    }
  });
  int wrong = 0;
  for (int i = 0; i < 30; ++i) {
    mp::process p(
        {.start_method = method}, [](int code) { ::_exit(code); }, i + 1);
    if (p.start().join() != mp::exit_status::exited(i + 1)) ++wrong;
  }
  enough = true;
  CHECK(wrong == 0);
}

TEST_CASE("process: many children that end in the same moment are all told", "[process][faults]") {
  const auto method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  const int count = method == mp::start_method::forkserver ? 1000 : 60;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 4096) MP_SKIP("fewer than 4,096 descriptors are allowed");
  const fd_ledger ledger;
  {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const mp::unique_fd read(ends[0]);
    mp::unique_fd write(ends[1]);
    std::vector<mp::process> all;
    for (int i = 0; i < count; ++i) {
      all.emplace_back(
          mp::process_options{.start_method = method},
          [](mp::unique_fd go, int code) {
            char byte;
            static_cast<void>(!::read(go.get(), &byte, 1));
            ::_exit(code);
          },
          mp::unique_fd(::dup(read.get())), i % 200);
      all.back().start();
    }
    CHECK(mp::this_process::active_children().size() == static_cast<std::size_t>(count));
    write.reset();
    int wrong = 0;
    for (int i = 0; i < count; ++i)
      if (all[static_cast<std::size_t>(i)].join_for(long_patience) != mp::exit_status::exited(i % 200)) ++wrong;
    CHECK(wrong == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: a stack overflow is explained, too", "[process][faults]") {
  mp::process p({.rlimits = {.stack = std::size_t{1} << 20, .core = 0}}, end_by, way::overflow);
  p.start();
  CHECK(p.join() == mp::exit_status::signaled(SIGSEGV));
  CHECK_THAT(p.failure().value().what, contains("SIGSEGV at address"));
}

TEST_CASE("process: threads that still run do not keep a child from its end", "[process][faults]") {
  const auto method = any_method();
  mp::process p({.start_method = method}, [] {
    std::thread([] {
      for (;;) std::this_thread::yield();
    }).detach();
  });
  p.start();
  CHECK(p.join_for(patience) == mp::exit_status::exited(0));
}

TEST_CASE("process: a child whose stdio is broken or closed still ends as it should", "[process]") {
  const auto method = any_method();
  mp::process p({.start_method = method}, [] {
    ::close(0);
    ::close(1);
    ::close(2);
    std::cout << "nobody reads this";
    mp::process below(do_nothing);
    if (!below.start().join().success()) mp::this_process::exit(2);
  });
  CHECK(p.start().join() == mp::exit_status::exited(0));
}

TEST_CASE("process: a child that closes or overwrites all descriptors is still told exactly", "[process][faults]") {
  const auto method = any_method();
  mp::process closes({.start_method = method}, [] {
    ::syscall(SYS_close_range, 0u, ~0u, 0u);
    ::_exit(21);
  });
  CHECK(closes.start().join() == mp::exit_status::exited(21));
  mp::process overwrites({.start_method = method}, [] {
    for (int fd = 3; fd < 64; ++fd) ::dup2(0, fd);
    ::_exit(22);
  });
  CHECK(overwrites.start().join() == mp::exit_status::exited(22));
}

TEST_CASE("process: a daemon that a child leaves behind with its descriptors does not delay its status",
          "[process][faults]") {
  const auto method = any_method();
  fact_pipe alive;
  mp::process p(
      {.start_method = method},
      [](mp::unique_fd held) {
        // Neither fork hooks nor close-on-exec help here: the copy keeps every descriptor.
        if (::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr) == 0) {
          char byte;
          static_cast<void>(!::read(held.get(), &byte, 1));
          ::_exit(0);
        }
        ::_exit(23);
      },
      mp::unique_fd(::dup(alive.read_fd())));
  CHECK(p.start().join_for(patience) == mp::exit_status::exited(23));
  alive.tell();
}

TEST_CASE("process: a child that executes another program ends with that program's status", "[process][faults]") {
  const auto method = any_method();
  mp::process p({.start_method = method}, [] { ::execl("/bin/sh", "sh", "-c", "exit 24", nullptr); });
  CHECK(p.start().join() == mp::exit_status::exited(24));
}

TEST_CASE("process: a child that was let go is no zombie when it has ended, though nothing more is asked or started",
          "[process]") {
  const auto method = any_method();
  const fd_ledger ledger;
  {
    pid_t pid;
    mp::unique_fd in;
    {
      mp::process p({.start_method = method, .in = mp::stdio::pipe()}, [] {
        char byte;
        static_cast<void>(!::read(0, &byte, 1));
      });
      in = p.start().take_in();
      pid = p.pid();
    }
    CHECK(::kill(pid, 0) == 0);
    in.reset();
    CHECK(eventually([pid] { return ::kill(pid, 0) != 0; }));
  }
  CHECK_CLEAN(ledger);
}
