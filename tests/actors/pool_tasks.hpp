#pragma once
// Tasks that the pool's tests run, good and bad.

#include "mp/pool.hpp"
#include "mp/this_process.hpp"
#include "mp/this_task.hpp"
#include "support/catch.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <signal.h>
#include <unistd.h>
#include <chrono>
#include <csetjmp>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace mp_test {

/// May wrap.
inline int cube(int x) {
  const auto u = static_cast<unsigned>(x);
  return static_cast<int>(u * u * u);
}
inline int same(int x) { return x; }
inline void nothing(int) {}
inline pid_t who(int) { return ::getpid(); }
/// Counts the tasks of the process it runs in: 1 for the first.
inline std::ptrdiff_t count_here(int) {
  static std::ptrdiff_t count = 0;
  return ++count;
}
inline std::string joined(const std::string& a, int b) { return a + std::to_string(b); }
[[noreturn]] inline int hang(int) {
  for (;;) ::pause();
}
[[noreturn]] inline int spin(int) {
  for (;;) asm volatile("");
}
inline int until_stopped(std::stop_token stop, int x) {
  while (!stop.stop_requested()) std::this_thread::yield();
  return x;
}

enum class end { segv, kill, abort, exit, quick_exit, now, terminate, quit, jump };
inline std::jmp_buf never_set;  // no place to go
[[noreturn]] inline void end_by(end how) {
  switch (how) {
    case end::segv: ::raise(SIGSEGV); break;
    case end::kill: ::raise(SIGKILL); break;
    case end::abort: std::abort();
    case end::exit: std::exit(3);
    case end::quick_exit: std::quick_exit(4);
    case end::now: ::_exit(5);
    case end::terminate: std::terminate();
    case end::quit: mp::this_process::exit(0);
    case end::jump: std::longjmp(never_set, 1);
  }
  for (;;) ::pause();
}
inline int end_worker(end how) { end_by(how); }
/// Ends its worker for inputs 3, 13, 23 ..
inline int sometimes_dies(int x) {
  if (x % 10 == 3) end_by(end::kill);
  return x;
}
inline int sometimes_throws(int x) {
  if (x % 10 == 7) throw std::out_of_range("no " + std::to_string(x));
  return x;
}

/// The error that f throws, as text: "worker_died", "cancelled" ..
template <class F>
mp::post_mortem death_in(F&& f) {
  try {
    static_cast<void>(f());
  } catch (const mp::worker_died& e) {
    return e.post_mortem();
  }
  FAIL("no worker died");
  return {};
}
inline std::vector<int> numbers(int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}
/// Until a task runs.
inline void wait_until_running(const mp::pool& p, std::uint64_t n = 1) {
  REQUIRE(eventually([&] { return p.stats().running >= n; }));
}

}  // namespace mp_test
