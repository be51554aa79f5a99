// Why children failed: exceptions, crashes, last words. FAULTS 73.

#include "process_support.hpp"
#include "run_victim.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>

using namespace mp_test;

namespace {

[[gnu::noinline]] void deeper(int depth) {
  if (depth > 0) return deeper(depth - 1);
  try {
    throw std::out_of_range("number 7 of 3");
  } catch (...) {
    std::throw_with_nested(std::runtime_error("cannot look it up"));
  }
}
void fail_deeply() { deeper(3); }

[[gnu::noinline]] void store(volatile int* where) { *where = 1; }
void write_to(std::uintptr_t where) { store(reinterpret_cast<volatile int*>(where)); }

struct strange {};

}  // namespace

TEST_CASE("process: an exception that leaves the function is code 1, one line on stderr, and failure()", "[process]") {
  const auto method = any_method();
  CAPTURE(static_cast<int>(method));
  mp::process p({.name = "searcher", .start_method = method, .err = mp::stdio::pipe()}, fail_deeply);
  p.start();
  const std::string err = read_all(p.take_err());
  CHECK(p.join() == mp::exit_status::exited(1));
  CHECK(err == "mp: searcher (pid " + std::to_string(p.pid()) +
                   ") ended by std::_Nested_exception<std::runtime_error>: cannot look it up; caused by "
                   "std::out_of_range: number 7 of 3\n");
  const auto failure = p.failure();
  REQUIRE(failure);
  CHECK(failure->what == "cannot look it up");
  REQUIRE(failure->nested.size() == 1);
  CHECK(failure->nested[0].type_name == "std::out_of_range");
  CHECK(failure->nested[0].what == "number 7 of 3");
  CHECK_THAT(failure->backtrace, contains("deeper(int)"));
}

TEST_CASE("process: anything can be thrown", "[process][faults]") {
  const auto thrown = [](auto f) {
    mp::process p({.err = mp::stdio::null()}, f);
    CHECK(p.start().join() == mp::exit_status::exited(1));
    return p.failure().value();
  };
  CHECK(thrown([] { throw 42; }).type_name == "int");
  CHECK(thrown([] { throw 42; }).what == "42");
  CHECK(thrown([] { throw "text"; }).what == "text");
  CHECK(thrown([] { throw std::string("more"); }).what == "more");
  CHECK_THAT(thrown([] { throw strange{}; }).type_name, contains("strange"));
  CHECK(thrown([] { throw mp::error(mp::errc::closed, "as it is"); }).type_name == "mp::error");
}

TEST_CASE("process: a crash is explained by its signal, address and place", "[process]") {
  const auto method = any_method();
  CAPTURE(static_cast<int>(method));
  mp::process p({.start_method = method, .rlimits = {.core = 0}}, write_to, std::uintptr_t{0x10});
  p.start();
  CHECK(p.join() == mp::exit_status::signaled(SIGSEGV));
  const auto failure = p.failure();
  REQUIRE(failure);
  CHECK(failure->type_name.empty());
  CHECK(failure->what == "SIGSEGV at address 0x10");
  CHECK_THAT(failure->backtrace, contains("store("));
}

TEST_CASE("process: what a child wrote last comes with its failure, and was passed on to our stderr", "[process]") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const mp::unique_fd read(ends[0]);
  const mp::unique_fd ours(::fcntl(2, F_DUPFD_CLOEXEC, 3));
  ::dup2(ends[1], 2);
  ::close(ends[1]);
  mp::process p({.err = mp::stdio::capture()}, [] {
    std::cerr << std::string(5000, 'x') << "last words\n";
    throw std::runtime_error("the end");
  });
  p.start();
  p.join();
  const auto failure = p.failure();
  ::dup2(ours.get(), 2);
  REQUIRE(failure);
  CHECK(failure->stderr_tail.size() == 4096);
  CHECK_THAT(failure->stderr_tail, contains("last words\nmp: "));
  CHECK(eventually([&] {
    static std::string passed;
    char block[8192];
    pollfd p1{read.get(), POLLIN, 0};
    if (::poll(&p1, 1, 0) == 1) {
      const ssize_t n = ::read(read.get(), block, sizeof block);
      if (n > 0) passed.append(block, static_cast<std::size_t>(n));
    }
    return passed.find("last words") != std::string::npos;
  }));
}

TEST_CASE("init: without its crash handler a crash has its status, and no explanation beyond it", "[process]") {
  const std::string method = GENERATE("forkserver", "spawn", "fork");
  const auto with = victim({"crash", method}),
             without = victim({"crash", method}, {{"VICTIM_INIT", "no crash handler"}});
  CHECK_THAT(with.out, contains("killed by SIGSEGV | SIGSEGV at address"));
  CHECK_THAT(with.out, contains("frames 1"));
  if (mp_test::address_sanitizer) return;  // that has a handler of its own
  CHECK(without.out == "killed by SIGSEGV | killed by SIGSEGV | frames 0\n");
}

TEST_CASE("init: what a bare callback throws reaches on_unhandled, or else stderr, and the thread goes on",
          "[process]") {
  const auto with = victim({"unhandled"}, {{"VICTIM_INIT", "on_unhandled"}}), without = victim({"unhandled"});
  CHECK(with.code == 0);
  CHECK_THAT(with.out, contains("unhandled: nobody catches this"));
  CHECK(with.err.empty());
  CHECK(without.code == 0);
  CHECK_THAT(without.err, contains("a callback on the I/O thread threw: nobody catches this"));
}

TEST_CASE("process: the core dumped flag is the kernel's own", "[process][faults]") {
  if (mp_test::address_sanitizer) MP_SKIP("the sanitizer forbids core files");
  const auto method = any_method();
  rlimit before{};
  ::getrlimit(RLIMIT_CORE, &before);
  if (before.rlim_max != RLIM_INFINITY) MP_SKIP("core files are limited here");
  const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
  std::string folder = (std::filesystem::temp_directory_path() / "mp-test-XXXXXX").string();
  REQUIRE(::mkdtemp(folder.data()));
  const auto home = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  ::setrlimit(RLIMIT_CORE, &all);
  const auto crash = [] {
    ::raise(SIGSEGV);
    wait_for_ever();
  };
  {
    // What the kernel does with a core here (a file, a program that takes it, nothing) it says of a child without us.
    forked_child plain([] {
      ::signal(SIGSEGV, SIG_DFL);  // Catch2's handler would report in the copy, too
      return ::raise(SIGSEGV);
    });
    const auto status = plain.wait();
    REQUIRE(status);
    const bool dumps = WCOREDUMP(*status);
    mp::process p({.start_method = method, .err = mp::stdio::null()}, crash);
    CHECK(p.start().join() == mp::exit_status::signaled(SIGSEGV, dumps));
    mp::process none({.start_method = method, .err = mp::stdio::null(), .rlimits = {.core = 0}}, crash);
    CHECK(none.start().join() == mp::exit_status::signaled(SIGSEGV, false));
    std::cout << "figure: a core is " << (dumps ? "dumped" : "not dumped") << " here" << std::endl;
  }
  ::setrlimit(RLIMIT_CORE, &before);
  std::filesystem::current_path(home);
  std::filesystem::remove_all(folder);
}
