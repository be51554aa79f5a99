// What floor 2 reads in /proc and /sys: who still runs, how many processors there are.

#include "os/proc.hpp"
#include "support/catch.hpp"
#include "support/patience.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

using namespace mp_test;
namespace os = mp::os;

namespace {

/// A tree of cgroup files.
class cgroup_tree {
public:
  cgroup_tree() {
    std::string name = (std::filesystem::temp_directory_path() / "mp-test-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    root_ = name;
  }
  ~cgroup_tree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ + path).substr(0, (root_ + path).rfind('/')));
    std::ofstream(root_ + path) << text;
  }
  std::optional<double> quota(const std::string& membership) const { return os::cgroup_cpu_quota(root_, membership); }

private:
  std::string root_;
};

}  // namespace

TEST_CASE("is_running: a process that ended does not come back to life while it is reaped", "[process][faults]") {
  int revived = 0;
  for (int round = 0; round < 400; ++round) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    REQUIRE(pid > 0);
    const std::uint64_t started = os::start_time_of(pid);
    CHECK(started != 0);
    while (os::is_running(pid, started)) {
    }
    std::atomic<bool> reaped{false};
    std::thread reaper([&] {
      ::waitpid(pid, nullptr, 0);
      reaped = true;
    });
    while (!reaped) revived += os::is_running(pid, started) ? 1 : 0;
    reaper.join();
    CHECK_FALSE(os::is_running(pid, started));
  }
  CHECK(revived == 0);
}

TEST_CASE("is_running: a process lives on in its other threads, and a number means nothing without its start",
          "[process][unit]") {
  const pid_t me = ::getpid();
  CHECK(os::is_running(me, os::start_time_of(me)));
  CHECK_FALSE(os::is_running(me, os::start_time_of(me) + 1));
  CHECK_FALSE(os::is_running(me, 0));

  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::thread([from = ends[0], to = ends[1]] {
      ::close(to);
      char byte;
      static_cast<void>(::read(from, &byte, 1));
      ::_exit(0);
    }).detach();
    ::syscall(SYS_exit, 0);  // this thread alone
  }
  ::close(ends[0]);
  const std::uint64_t started = os::start_time_of(pid);
  REQUIRE(eventually([&] { return os::zombie_exit_code(pid).has_value(); }));
  CHECK(os::is_running(pid, started));
  ::close(ends[1]);
  CHECK(eventually([&] { return !os::is_running(pid, started); }));
  ::waitpid(pid, nullptr, 0);
}

TEST_CASE("cpu_count: the smallest quota on the way to the root binds, in both versions of cgroups",
          "[process][unit]") {
  const cgroup_tree tree;
  CHECK_FALSE(tree.quota("0::/a/b\n"));
  tree.write("/a/b/cpu.max", "max 100000\n");
  CHECK_FALSE(tree.quota("0::/a/b\n"));
  tree.write("/a/cpu.max", "150000 100000\n");
  CHECK(tree.quota("0::/a/b\n") == 1.5);
  tree.write("/a/b/cpu.max", "50000 100000\n");
  CHECK(tree.quota("0::/a/b\n") == 0.5);
  CHECK_FALSE(tree.quota("0::/\n"));
  tree.write("/cpu,cpuacct/x/cpu.cfs_quota_us", "300000\n");
  tree.write("/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  CHECK(tree.quota("4:cpu,cpuacct:/x\n3:memory:/x\n") == 3.0);
  tree.write("/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
  CHECK_FALSE(tree.quota("4:cpu,cpuacct:/x\n"));
  tree.write("/cpu,cpuacct/x/cpu.cfs_quota_us", "garbage");
  CHECK_FALSE(tree.quota("4:cpu,cpuacct:/x\nnonsense\n::\n"));
}
