// Shutting down, by call and by signal. Must end this process even if main is somewhere else, and must do in a signal
// handler what may be done there: write to a descriptor.

#include "mp/shutdown.hpp"

#include "mp/detail/async.hpp"
#include "mp/detail/process_end.hpp"
#include "mp/error.hpp"
#include "mp/this_process.hpp"
#include "services.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace mp {
namespace {

// Set once, before the first handler is installed; never closed: a handler may run at any time.
std::atomic<int> news{-1};
std::atomic<bool> is_ending{false};
std::atomic<pid_t> watched{0};
std::atomic<std::int64_t> limit_ns{0};
thread_local bool is_watcher = false;

void on_signal(int signal) {
  const int before = errno;
  // A copy made by fork must not end its parent's children; and who signals twice means it.
  if (::getpid() != watched.load(std::memory_order_relaxed) || is_ending.exchange(true)) {
    ::signal(signal, SIG_DFL);
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, signal);
    ::raise(signal);
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  } else {
    const auto number = static_cast<std::uint64_t>(signal);
    static_cast<void>(!::write(news.load(std::memory_order_relaxed), &number, sizeof number));
  }
  errno = before;
}

void print(const verdict& v) noexcept {
  for (const departure& d : v.killed)
    std::fprintf(stderr, "mp: %s (pid %d) did not end in time and was killed\n", d.name.c_str(),
                 static_cast<int>(d.pid));
  for (const std::string& line : v.leaked) std::fprintf(stderr, "mp: %s\n", line.c_str());
}

void watch() noexcept {
  is_watcher = true;
  ::pthread_setname_np(::pthread_self(), "mp-shutdown");
  std::uint64_t signal = 0;
  while (::read(news.load(std::memory_order_relaxed), &signal, sizeof signal) != sizeof signal) {
  }
  try {
    print(shutdown(duration(std::chrono::nanoseconds(limit_ns.load(std::memory_order_relaxed)))));
  } catch (...) {
    // No memory even for this: the kernel ends the children when we do.
  }
  detail::end_by_signal(static_cast<int>(signal));
}

// main may come to its end meanwhile: the code of the process is the signal, and it ends when all have ended.
void hold_main_back() {
  while (is_ending.load() && !is_watcher && ::getpid() == watched.load()) ::pause();
}

}  // namespace

verdict shutdown(duration limit) {
  detail::check_may_wait("shutdown");
  static auto* const one_at_a_time = new std::mutex;
  const std::lock_guard lock(*one_at_a_time);
  const auto now = std::chrono::steady_clock::now();
  const auto until = deadline_after(now, limit);
  verdict v;
  // Those after the services must have time, too.
  detail::stop_services(until == time_point::max() ? until : until - (until - now) / 4, v, true);
  detail::refuse_starts();
  for (auto& p : detail::end_processes(until)) {
    if (!p.ended)
      v.leaked.push_back("process \"" + p.name + "\" (pid " + std::to_string(p.pid) + ") did not end after SIGKILL");
    else
      (p.killed ? v.killed : v.ended).push_back({std::move(p.name), p.pid, p.status});
  }
  detail::end_io(std::chrono::seconds(1));
  return v;
}

void shutdown_on(std::initializer_list<int> signals, duration limit) {
  for (const int s : signals)
    if (s <= 0 || s >= NSIG || s == SIGKILL || s == SIGSTOP)
      detail::throw_error(errc::invalid_argument, "shutdown_on: signal " + std::to_string(s) + " cannot be caught");
  static auto* const one_at_a_time = new std::mutex;
  const std::lock_guard lock(*one_at_a_time);
  limit_ns.store(limit.count().count());
  if (watched.load() != ::getpid()) {
    unique_fd fresh(::eventfd(0, EFD_CLOEXEC));
    if (!fresh) detail::throw_system_error(errc::out_of_resources, "shutdown_on: it needs a descriptor", errno);
    is_ending.store(false);
    news.store(fresh.release());
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread(watch).detach();
    } catch (const std::system_error& e) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      detail::throw_system_error(errc::out_of_resources, "shutdown_on: cannot start its thread", e.code().value());
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    watched.store(::getpid());
    at_exit(hold_main_back);
  }
  for (const int s : signals) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigfillset(&action.sa_mask);
    ::sigaction(s, &action, nullptr);
  }
}

}  // namespace mp
