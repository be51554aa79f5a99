// The victim that asks how its children ended, while others do what they can to hide it; and the one that changes what
// it may do, which its fork server cannot follow.

#include "mp/init.hpp"
#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "victim.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>

namespace victim {
namespace {

struct an_end {
  void (*how)();
  mp::exit_status status;
};
const an_end ends[] = {{nothing, mp::exit_status::exited(0)},
                       {[] { std::exit(1); }, mp::exit_status::exited(1)},
                       {[] { ::_exit(255); }, mp::exit_status::exited(255)},
                       {[] { std::quick_exit(4); }, mp::exit_status::exited(4)},
                       {[] { throw 42; }, mp::exit_status::exited(1)},
                       {[] { ::raise(SIGKILL); }, mp::exit_status::signaled(SIGKILL)},
                       {[] { ::raise(SIGSEGV); }, mp::exit_status::signaled(SIGSEGV)},
                       {[] { std::abort(); }, mp::exit_status::signaled(SIGABRT)},
                       {[] { ::raise(SIGTERM); }, mp::exit_status::signaled(SIGTERM)}};

// Each end several times. A status may be unknown where the kernel gave it to somebody else; never a wrong one.
int ask_all(int rounds) {
  int wrong = 0, unknown = 0;
  for (int i = 0; i < rounds; ++i)
    for (const auto& [how, expected] : ends) {
      mp::process p({.err = mp::stdio::null()}, how);
      const auto status = p.start().join();
      if (status.is_unknown())
        ++unknown;
      else if (status.code() != expected.code() || status.signal() != expected.signal())
        ++wrong;
    }
  std::cout << "wrong " << wrong << " unknown " << unknown << std::endl;
  return wrong;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What a process cannot change in another one: all of it as one text.
std::string place() {
  std::string all;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    for (const char* wanted : {"Uid:", "Gid:", "Groups:", "CapBnd:", "NoNewPrivs:", "Seccomp"})
      if (line.starts_with(wanted)) all += line + "\n";
  for (const char* name : {"uts", "ipc", "net"}) {
    std::error_code ignored;
    all += std::filesystem::read_symlink(std::string("/proc/self/ns/") + name, ignored).string() + "\n";
  }
  return all + text_of("/proc/self/cgroup");
}

void tell_place(mp::sender<std::string> to) { to.put(place()); }

std::string place_of_child() {
  mp::queue<std::string> q;
  mp::process p(tell_place, q.sender());
  p.start();
  std::string told = q.get();
  return p.join().success() ? told : "it failed";
}

// A cgroup of our own below the one we are in; it goes when the last one has left it.
bool enter_new_cgroup(std::filesystem::path& made) {
  const std::filesystem::path root = std::filesystem::exists("/sys/fs/cgroup/cgroup.procs") ? "/sys/fs/cgroup"
                                     : std::filesystem::exists("/sys/fs/cgroup/unified/cgroup.procs")
                                         ? "/sys/fs/cgroup/unified"
                                         : "/sys/fs/cgroup/pids";
  made = root / ("mp-test-" + std::to_string(::getpid()));
  std::error_code problem;
  if (!std::filesystem::create_directory(made, problem)) return false;
  std::ofstream procs(made / "cgroup.procs");
  procs << ::getpid() << std::flush;
  return procs.good();
}

constexpr int not_here = 60;  // the machine does not let us

bool change(const std::string& what, std::filesystem::path& made) {
  if (what == "user") return ::setresuid(65534, 65534, 65534) == 0;
  if (what == "group") return ::setresgid(65534, 65534, 65534) == 0;
  if (what == "groups") {
    const gid_t one = 65533;
    return ::setgroups(1, &one) == 0;
  }
  if (what == "capabilities") return ::prctl(PR_CAPBSET_DROP, 22 /* CAP_SYS_BOOT */, 0, 0, 0) == 0;
  if (what == "no_new_privs") return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  if (what == "seccomp") return refuse(SYS_acct, EPERM), true;
  if (what == "namespace") return ::unshare(CLONE_NEWUTS) == 0;
  if (what == "cgroup") return enter_new_cgroup(made);
  return false;
}

int change_place(const std::string& what) {
  const std::string before = place();
  if (place_of_child() != before || place_of_child() != before) return 1;  // the second was forked ahead
  const pid_t first = fork_server();
  std::filesystem::path made;
  if (!change(what, made)) return not_here;
  const std::string now = place();
  int result = now == before ? not_here : 0;
  if (result == 0 && place_of_child() != now) result = 2;
  if (result == 0 && fork_server() == first) result = 3;
  const pid_t second = fork_server();
  if (result == 0 && place_of_child() != now) result = 4;
  if (result == 0 && fork_server() != second) result = 5;  // it fits: it stays
  if (!made.empty()) {
    std::ofstream(made.parent_path() / "cgroup.procs") << ::getpid() << std::flush;
    // Whoever was started in there goes with us; the folder is removed by the test.
    std::cout << made.string() << std::endl;
  }
  return result;
}

}  // namespace

int every_end() { return ask_all(2); }

int every_end_beside_a_thief() {
  std::atomic<bool> enough{false};
  std::jthread thief([&] {
    while (!enough) {
      ::waitpid(-1, nullptr, WNOHANG);
      std::this_thread::yield();
    }
  });
  const int wrong = ask_all(4);
  enough = true;
  return wrong;
}

int changed_place(const std::string& what) {
  try {
    return change_place(what);
  } catch (const mp::error& e) {
    std::cout << e.what() << std::endl;
    return 99;
  }
}

int crash() {
  mp::process p({.rlimits = {.core = 0}}, [] { *static_cast<volatile int*>(nullptr) = 1; });
  const auto status = p.start().join();
  const auto why = p.failure().value_or(mp::failure{});
  std::cout << status << " | " << why.what << " | frames " << !why.backtrace.empty() << std::endl;
  return 0;
}

int unhandled() {
  mp::queue<int> q;
  std::promise<void> second;
  q.async_get([](mp::error_code, int) { throw std::runtime_error("nobody catches this"); });
  q.put(1);
  q.async_get([&](mp::error_code, int) { second.set_value(); });
  q.put(2);
  // The thread goes on: the next callback comes.
  return second.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready ? 0 : 1;
}

}  // namespace victim
