// The victim that kills and stops its own fork server.

#include "mp/process.hpp"
#include "victim.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace victim {
namespace {

// Any name, if none is wanted.
pid_t child_named(const std::string& wanted, pid_t parent) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream stat(entry.path() / "stat");
    std::string text;
    std::getline(stat, text);
    const auto open = text.find('('), close = text.rfind(')');
    if (close == std::string::npos) continue;
    if (!wanted.empty() && text.substr(open + 1, close - open - 1) != wanted) continue;
    if (std::atoi(text.c_str() + close + 4) == parent) return std::atoi(name.c_str());
  }
  return 0;
}

void await_end(pid_t pid) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  pollfd p{pidfd, POLLIN, 0};
  ::poll(&p, 1, 20'000);
  ::close(pidfd);
}

}  // namespace

pid_t fork_server() { return child_named("mp-forkserver", ::getpid()); }

// The fork server is killed while children run, then while they are started.
int kill_server(int signal) {
  mp::process survivor({.in = mp::stdio::pipe()}, [] {
    char byte;
    static_cast<void>(!::read(0, &byte, 1));
    ::_exit(41);
  });
  survivor.start();
  const pid_t first = fork_server();
  if (first == 0) return 50;
  ::kill(first, signal);
  if (signal == SIGINT) {
    // It ignores this one.
    mp::process p(nothing);
    if (!p.start().join().success() || fork_server() != first) return 51;
  } else {
    await_end(first);
  }
  if (!survivor.is_alive()) return 52;
  survivor.take_in().reset();
  const auto status = survivor.join();
  if (status != mp::exit_status::exited(41) && !status.is_unknown()) return 53;
  std::cout << (status.is_unknown() ? "unknown" : "exact") << std::endl;
  mp::process after([] { ::_exit(42); });
  return after.start().join() == mp::exit_status::exited(42) ? 0 : 54;
}

int kill_server_often() {
  std::atomic<bool> enough{false};
  std::jthread killer([&] {
    unsigned seed = 1;
    while (!enough) {
      if (const pid_t pid = fork_server()) ::kill(pid, SIGKILL);
      for (unsigned spin = (seed = seed * 1103515245 + 12345) >> 16 & 0x3fff; spin > 0 && !enough; --spin)
        std::this_thread::yield();
    }
  });
  int wrong = 0, unknown = 0, failed = 0;
  for (int i = 0; i < 60; ++i) {
    try {
      mp::process p([](int code) { ::_exit(code); }, i + 1);
      const auto status = p.start().join();
      if (status.is_unknown())
        ++unknown;
      else if (status != mp::exit_status::exited(i + 1))
        ++wrong;
    } catch (const mp::error& e) {
      if (e.code() != mp::errc::start_failed) ++wrong;
      ++failed;
    }
  }
  enough = true;
  std::cout << "wrong " << wrong << " unknown " << unknown << " failed " << failed << std::endl;
  return wrong == 0 ? 0 : 1;
}

int stop_server() {
  mp::process first([] { ::_exit(1); });
  first.start().join();
  mp::process running({.in = mp::stdio::pipe()}, [] {
    char byte;
    static_cast<void>(!::read(0, &byte, 1));
    ::_exit(43);
  });
  running.start();
  const pid_t server = fork_server();
  ::kill(server, SIGSTOP);
  int result = 0;
  // The first may find a child that was forked ahead.
  try {
    mp::process({.start_timeout = std::chrono::milliseconds(200)}, nothing).start();
  } catch (const mp::error&) {
  }
  say_error([] { mp::process({.start_timeout = std::chrono::milliseconds(200)}, nothing).start(); });
  running.take_in().reset();
  if (running.join_for(std::chrono::seconds(20)) != mp::exit_status::exited(43)) result = 1;
  ::kill(server, SIGCONT);
  mp::process after([] { ::_exit(44); });
  if (after.start().join() != mp::exit_status::exited(44)) result = 2;
  return result;
}

// What was forked ahead of the next start is killed; then many start at once.
int kill_waiting_child() {
  const auto start = [](int code) {
    mp::process p([](int c) { ::_exit(c); }, code);
    return p.start().join() == mp::exit_status::exited(code);
  };
  if (!start(11) || !start(12)) return 1;
  const auto waiting = [] {
    pid_t pid = 0;
    while ((pid = child_named("mp-waiting", fork_server())) == 0) std::this_thread::yield();
    return pid;
  };
  const pid_t first = waiting();
  ::kill(first, SIGKILL);
  await_end(first);
  if (!start(13)) return 2;
  const pid_t second = waiting();
  if (second == first) return 3;
  std::thread crowd[4];
  std::atomic<int> good{0};
  for (auto& one : crowd)
    one = std::thread([&] {
      for (int i = 0; i < 10; ++i) good += start(14);
    });
  for (auto& one : crowd) one.join();
  return good == 40 ? 0 : 4;
}

// One thread starts the fork server, whose preload function hangs; another has less time.
int preload_beside() {
  std::atomic<bool> first_over{false};
  std::jthread first([&] {
    try {
      mp::process({.start_timeout = std::chrono::seconds(20)}, nothing).start();
    } catch (const mp::error&) {
    }
    first_over = true;
  });
  // It is there, though it has not said hello.
  while (child_named("", ::getpid()) == 0) std::this_thread::yield();
  say_error([] { mp::process({.start_timeout = std::chrono::milliseconds(100)}, nothing).start(); });
  std::cout.flush();
  ::_exit(first_over ? 1 : 0);
}

}  // namespace victim
