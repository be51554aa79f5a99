// What a pool holds of the system, and what the system does to it: descriptors that tasks brought along, memory that
// its limits or the kernel's OOM killer refuse, and what a dead worker had used of it.

#include "mp/init.hpp"
#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "mp/unique_fd.hpp"
#include "pool_tasks.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <algorithm>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <ostream>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;
using mp_test::contains;

namespace {

std::size_t length_of(const std::string& s) { return s.size(); }
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

/// Asks for address space until there is none; touches nothing.
int grow(int) {
  std::vector<std::unique_ptr<char[]>> all;
  for (;;) all.emplace_back(new char[std::size_t{64} << 20]);
}
void grow_first() { grow(0); }
/// Leaves its worker next to no address space.
int hoard(int) {
  static std::vector<std::unique_ptr<char[]>> kept;
  try {
    for (;;) kept.emplace_back(new char[std::size_t{4} << 20]);
  } catch (const std::bad_alloc&) {
    return static_cast<int>(kept.size());
  }
}
void throw_first() { throw std::bad_alloc(); }

std::chrono::nanoseconds used(timeval rusage::*kind) {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  return std::chrono::seconds((u.*kind).tv_sec) + std::chrono::microseconds((u.*kind).tv_usec);
}
constexpr std::chrono::nanoseconds each = 30ms;
constexpr std::size_t large = std::size_t{32} << 20;
/// Uses so much of both kinds of processor time, by its own account, and so much memory. Number 1 dies of it.
int burn(int number) {
  const auto memory = std::make_unique<char[]>(large);
  for (std::size_t at = 0; at < large; at += 4096) static_cast<volatile char*>(memory.get())[at] = 1;
  while (used(&rusage::ru_utime) < each)
    for (int i = 0; i < 100000; ++i) asm volatile("");
  while (used(&rusage::ru_stime) < each) continue;  // it is a system call by itself
  if (number == 1) end_by(end::kill);
  return number;
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

TEST_CASE("pool: limits.memory: what a task cannot have is an ordinary exception, and costs no worker",
          "[pool][faults]") {
  if (address_sanitizer || thread_sanitizer) MP_SKIP("sanitizers reserve terabytes of address space");
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    CAPTURE(static_cast<int>(method));
    mp::pool p({.workers = 1, .start_method = method, .limits = {.memory = std::size_t{2} << 30}});
    const pid_t worker = p.apply(who, 0);
    for (int again = 0; again < 3; ++again) {
      CHECK_THROWS_AS(p.apply(grow, 0), std::bad_alloc);
      std::size_t failed = 0;
      for (auto& o : p.outcomes([](int x) { return x % 2 == 0 ? x : grow(x); }, numbers(6), {.chunk = 3})) {
        if (o) continue;
        ++failed;
        REQUIRE(o.failure());
        CHECK(o.failure()->type_name == "std::bad_alloc");
        CHECK(o.code() == mp::errc::task_threw);
      }
      CHECK(failed == 3);
    }
    CHECK(p.apply(who, 0) == worker);
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: limits.memory: a worker that ends for want of memory says so, one without the limit does not",
          "[pool][faults]") {
  if (address_sanitizer || thread_sanitizer) MP_SKIP("sanitizers reserve terabytes of address space");
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn})
    for (const bool limited : {true, false}) {
      CAPTURE(static_cast<int>(method), limited);
      std::mutex mutex;
      std::vector<mp::post_mortem> all;
      {
        mp::pool p({.workers = 1,
                    .initializer = limited ? mp::task(grow_first) : mp::task(throw_first),
                    .start_method = method,
                    .restart = {.intensity = 2, .back_off = {.first = 1ms}},
                    .on_worker_exit =
                        [&](const mp::worker_exit& e) {
                          const std::lock_guard lock(mutex);
                          all.push_back(e.post_mortem);
                        },
                    .limits = {.memory = limited ? std::optional(std::size_t{2} << 30) : std::nullopt}});
        auto f = p.submit(cube, 1);
        REQUIRE(f.wait_for(patience));
        CHECK_ERRC(f.get(), pool_broken);
        CHECK_THAT(what_of([&] { p.apply(cube, 1); }), contains("std::bad_alloc"));
      }
      REQUIRE(all.size() >= 3);
      for (const auto& death : all) {
        CHECK(death.why == (limited ? mp::death::memory_limit : mp::death::exited));
        CHECK(death.status == mp::exit_status::exited(1));
        CHECK(death.failure.type_name == "std::bad_alloc");
      }
    }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: limits.memory: an argument that no worker can hold costs its own task, and says why",
          "[pool][faults]") {
  if (address_sanitizer || thread_sanitizer) MP_SKIP("sanitizers reserve terabytes of address space");
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 1, .limits = {.memory = std::size_t{256} << 20}});
    std::vector<std::string> in(3, "small");
    in[1].resize(std::size_t{288} << 20);
    std::size_t at = 0;
    for (auto& o : p.outcomes(length_of, in, {.chunk = 1})) {
      CAPTURE(at);
      if (at++ != 1) {
        CHECK((o && *o == 5));
        continue;
      }
      REQUIRE((!o && o.post_mortem()));
      CHECK(o.post_mortem()->why == mp::death::memory_limit);
      CHECK_THAT(o.post_mortem()->failure.what, contains("memory"));
    }
    CHECK(at == 3);
    CHECK(p.apply(cube, 3) == 27);
    CHECK(p.stats().worker_deaths == 2);  // one that had run something before, and a fresh one
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: limits.memory: an argument for which an earlier task has left no memory goes to another worker",
          "[pool][faults]") {
  if (address_sanitizer || thread_sanitizer) MP_SKIP("sanitizers reserve terabytes of address space");
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 1, .limits = {.memory = std::size_t{256} << 20}});
    CHECK(p.apply(hoard, 0) > 0);
    CHECK(p.apply(length_of, std::string(std::size_t{16} << 20, 'x')) == std::size_t{16} << 20);
    CHECK(p.stats().worker_deaths == 1);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a post-mortem holds the times and the memory that the dead worker had used", "[pool][faults]") {
  const fd_ledger ledger;
  const auto began = std::chrono::steady_clock::now();
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    CAPTURE(static_cast<int>(method));
    std::mutex mutex;
    std::vector<mp::post_mortem> told;
    {
      mp::pool p({.workers = 1, .start_method = method, .on_worker_exit = [&](const mp::worker_exit& e) {
                    const std::lock_guard lock(mutex);
                    told.push_back(e.post_mortem);
                  }});
      const auto plausible = [&](const mp::post_mortem& m) {
        const auto since = std::chrono::steady_clock::now() - began;
        CHECK(m.user_time >= each);
        CHECK(m.system_time >= each);
        CHECK(m.user_time + m.system_time <= 2 * since);  // a task and the worker's own threads
        CHECK(m.peak_memory >= large);
        CHECK(m.peak_memory < 50 * large);
      };
      plausible(death_in([&] { return p.apply(burn, 1); }));
      for (auto& o : p.outcomes(burn, numbers(2), {.chunk = 1})) {
        if (o) continue;
        REQUIRE(o.post_mortem());
        plausible(*o.post_mortem());
      }
      // One that did nothing has used next to nothing.
      const auto idle = death_in([&] { return p.apply(end_worker, end::kill); });
      CHECK(idle.peak_memory > 0);
      // A child that is spawned begins with its parent's peak, by the kernel's account; a sanitizer with its own.
      if (method == mp::start_method::forkserver && !address_sanitizer && !thread_sanitizer)
        CHECK(idle.peak_memory < large);
    }
    REQUIRE(told.size() == 4);  // three that died, and one that left
    CHECK(told[0].peak_memory >= large);
    CHECK(told[1].peak_memory >= large);
    CHECK(told[3].peak_memory > 0);
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
