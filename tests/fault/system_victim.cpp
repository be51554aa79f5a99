// A program that uses everything once, to be run while the system refuses it something. It must end in order whatever
// fails: with an answer or an mp::error, never with a crash, and with no descriptor more than without the fault.
// Modes: nothing | everyday | memory | pid-reuse

#include "mp/core.hpp"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

namespace {

using namespace std::chrono_literals;

void echo(mp::receiver<std::string> in, mp::sender<std::string> out) {
  for (const std::string& word : in) out.put(word + "!");
}

/// A child that is killed by a signal has crashed: nobody here kills one.
bool crashed = false;

void everyday() {
  mp::queue<std::string> answers;
  auto [in, out] = mp::pipe<std::string>();
  mp::process p({.start_timeout = 10s}, echo, std::move(in), answers);
  p.start();
  out.put("bird");
  out.put(std::string(100'000, 'x'));
  out.close();
  std::size_t bytes = 0;
  for (const std::string& answer : answers) bytes += answer.size();
  const auto status = p.join_for(20s);
  if (status && status->is_signaled()) crashed = true;
  std::printf("got %zu bytes, child %s\n", bytes, status ? mp::to_string(*status).c_str() : "still runs");
}

int open_descriptors() {
  int count = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  if (!dir) return -1;
  while (::readdir(dir)) ++count;
  ::closedir(dir);
  return count;
}

/// Children that an error left alone end by themselves, and are reaped.
void settle() {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!mp::this_process::active_children().empty() && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
}

int run_everyday() {
  for (int round = 0; round < 5; ++round) {
    const char* how = "ok";
    try {
      everyday();
    } catch (const mp::error& e) {
      how = "error";
      std::printf("%d: %s\n", e.code().value(), e.what());
    }
    settle();
    std::printf("round %s %d\n", how, open_descriptors());
  }
  return crashed ? 4 : 0;
}

/// Every page that is to be reserved is refused.
int run_memory() {
  try {
    const mp::queue<int> q;
    q.put(1);
  } catch (const mp::error& e) {
    std::printf("%s\n", e.what());
    return e.code() == mp::errc::out_of_resources ? 3 : 5;
  }
  return 0;
}

/// In a pid namespace of its own: after the child has ended, a stranger gets its number.
int run_pid_reuse() {
  mp::process p{[] {}};
  p.start();
  const pid_t number = p.pid();
  if (!p.join_for(20s)) return 5;
  mp::process q{[](mp::receiver<int> in) { static_cast<void>(in.get_for(20s)); }, mp::queue<int>().receiver()};
  for (int tries = 0; tries < 100; ++tries) {
    std::ofstream("/proc/sys/kernel/ns_last_pid") << number - 1 << std::flush;
    const pid_t stranger = ::fork();
    if (stranger < 0) return 5;
    if (stranger == 0) {
      ::pause();
      ::_exit(0);
    }
    if (stranger == number) {
      p.terminate();
      p.kill();
      p.interrupt();
      int status = 0;
      const bool alive = ::waitpid(stranger, &status, WNOHANG) == 0;
      ::kill(stranger, SIGKILL);
      ::waitpid(stranger, &status, 0);
      std::printf("stranger %s\n", alive ? "unharmed" : "hit");
      return alive ? 0 : 4;
    }
    ::kill(stranger, SIGKILL);
    ::waitpid(stranger, nullptr, 0);
  }
  return 77;
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string mode = argc > 1 ? argv[1] : "everyday";
  if (mode == "nothing") return 0;
  if (mode == "memory") return run_memory();
  if (mode == "pid-reuse") return run_pid_reuse();
  return run_everyday();
}
