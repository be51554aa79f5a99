// What a pool holds of the system, and what the system does to it: descriptors that tasks brought along, memory that
// the kernel's OOM killer takes back.

#include "mp/init.hpp"
#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "mp/unique_fd.hpp"
#include "pool_tasks.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <fstream>
#include <memory>
#include <ostream>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;
using mp_test::contains;

namespace {

int opened_there(const mp::unique_fd& fd) { return ::fcntl(fd.get(), F_GETFD) >= 0; }

/// Touches memory until the kernel has had enough.
int eat(std::size_t most) {
  constexpr std::size_t block = std::size_t{1} << 20;
  std::vector<std::unique_ptr<char[]>> eaten;
  for (std::size_t bytes = 0; bytes < most; bytes += block) {
    eaten.push_back(std::make_unique<char[]>(block));
    for (std::size_t at = 0; at < block; at += 4096) static_cast<volatile char*>(eaten.back().get())[at] = 1;
  }
  return static_cast<int>(eaten.size());
}

/// A control group below our own whose processes have so much memory together. Needs to be root, and a kernel that lets
/// groups be made here.
class memory_group {
public:
  explicit memory_group(std::size_t bytes) {
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
      const auto first = line.find(':'), second = line.find(':', first + 1);
      if (second == line.npos) continue;
      const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
      const bool old = controllers == "memory";
      if (!old && !controllers.empty()) continue;
      const std::string folder =
          "/sys/fs/cgroup" + std::string(old ? "/memory" : "") + path + "/libmp-test-" + std::to_string(::getpid());
      if (::mkdir(folder.c_str(), 0755) != 0) continue;
      std::ofstream limit(folder + (old ? "/memory.limit_in_bytes" : "/memory.max"));
      if (limit << bytes << std::flush) {
        folder_ = folder;
        return;
      }
      ::rmdir(folder.c_str());
    }
  }
  memory_group(const memory_group&) = delete;
  memory_group& operator=(const memory_group&) = delete;
  ~memory_group() {
    if (usable()) static_cast<void>(eventually([&] { return ::rmdir(folder_.c_str()) == 0; }));
  }

  bool usable() const { return !folder_.empty(); }
  std::string entrance() const { return folder_ + "/cgroup.procs"; }

private:
  std::string folder_;
};

/// Goes into the group and has a pool there, one of whose tasks eats more than the group has.
void eat_in_group(const std::string& entrance, const mp::sender<std::string>& answers) {
  std::ofstream group(entrance);
  if (!(group << 0 << std::flush)) return answers.put("could not go in");
  mp::pool p(2);
  auto neighbour = p.submit({.retry = {.attempts = 3, .idempotent = true}}, cube, 3);
  try {
    answers.put("ate " + std::to_string(p.apply(eat, std::size_t{1} << 30)) + " MiB");
  } catch (const mp::worker_died& e) {
    answers.put(e.post_mortem().why == mp::death::oom_killer ? "the OOM killer" : "somebody else");
    answers.put(e.what());
  }
  answers.put(std::to_string(neighbour.get()) + " and " + std::to_string(p.apply(cube, 2)));
}

}  // namespace

TEST_CASE("pool: the descriptors of a task's arguments are closed when it is done, not when its future goes",
          "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    CHECK(p.apply(cube, 2) == 8);
    const auto count = [] {  // those of the tasks only: the library has some that come and go
      const auto now = holdings::now().descriptors;
      return std::count_if(now.begin(), now.end(), [](const auto& one) { return one.second == "/dev/null"; });
    };
    const auto before = count();
    std::vector<mp::future<int>> done;
    for (int i = 0; i < 20; ++i)
      done.push_back(p.submit(opened_there, mp::unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))));
    for (const auto& f : done) REQUIRE(f.wait_for(patience));
    CHECK(eventually([&] { return count() == before; }));
    for (auto& f : done) CHECK(f.get() == 1);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: what the kernel's OOM killer took is told from other kills", "[pool][faults]") {
  const fd_ledger ledger;
  {
    const memory_group group(std::size_t{256} << 20);
    if (!group.usable()) MP_SKIP("no control group with a limit of memory can be made here");
    mp::queue<std::string> answers;
    mp::process p{{.start_method = mp::start_method::spawn}, eat_in_group, group.entrance(), answers.sender()};
    p.start();
    answers.close_sender();
    CHECK(answers.get_for(patience) == "the OOM killer");
    CHECK_THAT(answers.get_for(patience).value_or(""), contains("memory"));
    CHECK(answers.get_for(patience) == "27 and 8");
    REQUIRE(p.join_for(patience));
    CHECK(p.exit_status()->success());
  }
  CHECK_CLEAN(ledger);
}
