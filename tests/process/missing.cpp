// What a start counts on, and does not find: its parent, the plugin that it knew, a system call. FAULTS 20, 29, 30.

#include "mp/pool.hpp"
#include "run_victim.hpp"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <filesystem>
#include <sstream>
#include <string>

using namespace mp_test;

namespace {

/// A folder for one test.
class scratch {
public:
  scratch() { REQUIRE(::mkdtemp(name_.data())); }
  scratch(const scratch&) = delete;
  ~scratch() { std::filesystem::remove_all(name_); }
  std::filesystem::path operator/(const char* file) const { return std::filesystem::path(name_) / file; }

private:
  std::string name_ = (std::filesystem::temp_directory_path() / "mp-test-XXXXXX").string();
};

std::string message_of(const mp::process& p) {
  const auto f = p.failure();
  return f ? f->what : std::string();
}

}  // namespace

TEST_CASE("process: a child that has not come to its first step dies with its parent", "[process][faults]") {
  // It hangs in a static constructor, before main: the child itself, or the fork server that would make it.
  const std::string method = GENERATE("spawn", "forkserver");
  CAPTURE(method);
  for (int round = 0; round < 5; ++round) {
    const std::string entry = "MP_TEST_TREE=" + std::to_string(::getpid()) + method + std::to_string(round) + ".";
    const pid_t first = run_marked({"misbehaving-child", method, "VICTIM_STATIC", "hang"}, entry);
    REQUIRE(first > 0);
    REQUIRE(eventually([&] { return marked_by(entry).size() == 2 && !marked_by("VICTIM_STATIC=hang").empty(); }));
    ::kill(first, SIGKILL);
    ::waitpid(first, nullptr, 0);
    CHECK(eventually([&] { return marked_by(entry).empty(); }));
  }
}

TEST_CASE("process: a plugin that was replaced on disk is version_mismatch where it is not loaded yet",
          "[process][faults]") {
  const fd_ledger ledger;
  const auto method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  CAPTURE(static_cast<int>(method));
  const scratch folder;
  const auto file = folder / "plugin.so";
  std::filesystem::copy_file(std::getenv("MP_TASK_PLUGIN_ONE"), file);
  void* const plugin = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(plugin);
  const auto end = reinterpret_cast<void (*(*)())(int)>(::dlsym(plugin, "find_end"))();
  const auto twice = reinterpret_cast<int (*(*)())(int)>(::dlsym(plugin, "find_function"))();
  {
    mp::process p({.start_method = method}, end, 21);
    CHECK(p.start().join() == mp::exit_status::exited(42));
    mp::pool pool({.workers = 1, .start_method = method});
    CHECK(pool.apply(twice, 21) == 42);

    std::filesystem::remove(file);
    std::filesystem::copy_file(std::getenv("MP_TASK_PLUGIN_TWO"), file);
    mp::process other({.start_method = method}, end, 21);
    CHECK(other.start().join() == mp::exit_status::exited(1));
    CHECK_THAT(message_of(other), contains("plugin.so"));
    CHECK(pool.apply(twice, 4) == 8);  // it has loaded the one that we mean
    mp::pool later({.workers = 1, .start_method = method});
    CHECK_ERRC(later.apply(twice, 21), version_mismatch);
    CHECK(later.apply([](int n) { return n + 1; }, 1) == 2);
    CHECK(later.stats().worker_deaths == 0);
  }
  ::dlclose(plugin);
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: where a system call is refused, a start works without it or says what is missing",
          "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn"),
                    call = GENERATE("memfd_create", "pidfd_open", "pidfd_send_signal", "clone");
  CAPTURE(method, call);
  // The search for leaks needs a clone of its own.
  const auto result = victim({"without", method, call}, {{"ASAN_OPTIONS", "detect_leaks=0"}}, 20);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  std::istringstream said(result.out);
  std::string line;
  for (int started = 0; std::getline(said, line);) {
    const bool works = line == "exited with code 7" || line == "killed by SIGKILL" || line == "got 1";
    const bool is_sentence = line.find("not permitted") != std::string::npos;
    CAPTURE(line);
    CHECK((works || is_sentence || line == "no error"));
    started += works;
    if (call == "memfd_create" && is_sentence) CHECK_THAT(line, contains("(memfd_create)"));
    if (call == "pidfd_send_signal") CHECK_FALSE(is_sentence);
    if (call != "memfd_create" && started > 0) CHECK_THAT(result.out, contains("got 1"));
  }
  if (call == "pidfd_send_signal") CHECK_THAT(result.out, contains("killed by SIGKILL"));  // by its number
}
