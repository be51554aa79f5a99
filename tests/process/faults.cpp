// Faults around starting and ending, each in a program of its own (victim.cpp), so that it can be killed as a whole.
// FAULTS 19 to 22, 24, 26 to 28, 30 to 32, 37, and the promises of an orderly end.

#include "process_support.hpp"
#include "run_victim.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace mp_test;

namespace {

// Where names could be left. Not what holds the program itself.
std::vector<std::string> folders_for_names() {
  std::vector<std::string> all{"/dev/shm", "/tmp", "/run"};
  std::erase_if(all, [](const std::string& f) { return program_path("process_victim").starts_with(f + "/"); });
  return all;
}

// A mount namespace where those are empty: what is in them later is the victim's.
std::vector<std::string> among_empty_folders() {
  std::string mounts;
  for (const auto& folder : folders_for_names()) mounts += "mount -t tmpfs none " + folder + " && ";
  return {"unshare", "--mount", "/bin/sh", "-c", mounts + "exec \"$0\" \"$@\""};
}

std::vector<mp::unique_fd> folders_of(pid_t pid) {
  std::vector<mp::unique_fd> open;
  for (const auto& folder : folders_for_names())
    open.emplace_back(
        ::open(("/proc/" + std::to_string(pid) + "/root" + folder).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return open;
}

std::size_t names_in(const mp::unique_fd& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& name :
       std::filesystem::directory_iterator("/proc/self/fd/" + std::to_string(folder.get())))
    ++count;
  return count;
}

std::string content(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}
std::size_t system_v_objects() {
  std::size_t lines = 0;
  for (const char* kind : {"shm", "sem", "msg"}) {
    const std::string all = content((std::string("/proc/sysvipc/") + kind).c_str());
    lines += static_cast<std::size_t>(std::count(all.begin(), all.end(), '\n'));
  }
  return lines;
}

}  // namespace

TEST_CASE("process: nobody of a tree survives its first process, however and whenever that is killed",
          "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn", "fork");
  const int kills = std::getenv("MP_TEST_LONG") ? 400 : 12;
  const bool can_unshare = run_program({"unshare", "--mount", "true"}).code == 0;
  const std::size_t system_v = system_v_objects();
  int scanned = 0;
  std::mt19937 random(20240607);
  std::chrono::milliseconds longest{0};
  for (int i = 0; i < kills; ++i) {
    const std::string entry = "MP_TEST_TREE=" + std::to_string(::getpid()) + method + std::to_string(i) + ".";
    const pid_t first =
        run_marked({"family", method}, entry, can_unshare ? among_empty_folders() : std::vector<std::string>());
    REQUIRE(first > 0);
    // At a random moment: in its own start, in a child's start, or when there are many.
    const auto moment =
        std::chrono::steady_clock::now() + std::chrono::microseconds(std::uniform_int_distribution(0, 250'000)(random));
    while (std::chrono::steady_clock::now() < moment) std::this_thread::yield();
    // Its own folders, if it has come so far; we hold them open beyond its end.
    std::vector<mp::unique_fd> folders;
    if (can_unshare &&
        content(("/proc/" + std::to_string(first) + "/cmdline").c_str()).find("mount") == std::string::npos)
      folders = folders_of(first);
    ::kill(first, i % 4 == 0 ? SIGSEGV : SIGKILL);
    int status = 0;
    ::waitpid(first, &status, 0);
    CHECK(WIFSIGNALED(status));  // by us: it was at work
    const auto begin = std::chrono::steady_clock::now();
    CHECK(eventually([&] { return marked_by(entry).empty(); }));
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    longest = std::max(longest, took);
    for (const pid_t pid : marked_by(entry)) ::kill(pid, SIGKILL);
    for (const auto& folder : folders)
      if (folder) CHECK(names_in(folder) == 0);
    scanned += !folders.empty();
  }
  CHECK(system_v_objects() == system_v);
  std::cout << "figure: orphans of " << kills << " killed trees (" << method << "): 0, gone after at most "
            << longest.count() << " ms; names left in /dev/shm, /tmp, /run (" << scanned
            << " looked at) and System V: 0" << std::endl;
}

TEST_CASE("process: a killed fork server harms no child, and the next start makes another", "[process][faults]") {
  const int signal = GENERATE(SIGKILL, SIGTERM, SIGINT);
  CAPTURE(signal);
  const auto result = victim({"kill-server", std::to_string(signal)});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
}

TEST_CASE("process: a fork server that is killed again and again makes no wrong status", "[process][faults]") {
  const auto result = victim({"kill-server-often"});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("wrong 0"));
}

TEST_CASE("process: a child forked ahead that is killed costs a start nothing", "[process][faults]") {
  const auto result = victim({"kill-waiting-child"});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
}

TEST_CASE("process: a stopped fork server makes a start fail in time, and keeps no status back", "[process][faults]") {
  const auto result = victim({"stop-server"});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("did not answer in time; is it stopped?"));
}

TEST_CASE("process: where the kernel must not be asked and SIGCHLD is ignored, a status is right or unknown",
          "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn", "fork");
  const auto result = victim({"robbed", method});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  if (method == "forkserver") CHECK_THAT(result.out, contains("wrong 0 unknown 0"));
}

TEST_CASE("process: nothing dies with the thread that started it", "[process][faults]") {
  const auto result = victim({"starter-thread-ends", GENERATE("forkserver", "spawn")});
  INFO(result.err);
  CHECK(result.code == 0);
}

TEST_CASE("start: a program that forgot mp::init is told what to add, and starts nothing", "[process][faults]") {
  const auto result = victim({"forgets-init"});
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("mp::init was not called | "));
  CHECK_THAT(result.out, contains("make mp::init(argc, argv); the first statement of main"));
}

TEST_CASE("start: a child that ends, crashes or writes nonsense before its hello is start_failed and says how",
          "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn");
  const std::string when = GENERATE("VICTIM_STATIC", "VICTIM_MAIN");
  CAPTURE(method, when);
  const auto started = [&](const std::string& how) { return victim({"misbehaving-child", method, when, how}).out; };
  CHECK_THAT(started("exit"), contains("the child process never came | "));
  CHECK_THAT(started("exit"), contains("exited with code 33"));
  CHECK_THAT(started("crash"), contains("killed by SIGKILL"));
  CHECK_THAT(started("write"), contains("does the program write to descriptor 3"));
  if (method == "spawn") CHECK_THAT(started("complain"), contains("no licence found"));
}

TEST_CASE("start: a child that hangs before its hello is killed when start_timeout is over", "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn");
  const auto result = victim({"misbehaving-child", method, GENERATE("VICTIM_STATIC", "VICTIM_MAIN"), "hang"});
  INFO(result.out);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("the child process never came | "));
}

TEST_CASE("start: the running image starts, whatever lies under its name by now", "[process][faults]") {
  std::string name = (std::filesystem::temp_directory_path() / "mp-test-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()));
  const std::filesystem::path folder = name;
  const auto own = folder / "program", other = folder / "other";
  std::filesystem::copy_file(program_path("process_victim"), own);
  std::filesystem::copy_file("/bin/sh", other);
  const auto result = run_program({own.string(), "replaced", own.string(), other.string()});
  std::filesystem::remove_all(folder);
  INFO(result.out << result.err);
  CHECK_THAT(result.out, contains("good 5"));
}

TEST_CASE("start: fork is refused while other threads run, with their number", "[process][faults]") {
  const auto result = victim({"fork-with-thread"});
  CHECK_THAT(result.out, contains("fork is unsafe while other threads run | "));
  CHECK_THAT(result.out, contains("while 2 threads run"));
}

TEST_CASE("start: without /proc nothing starts, and the error says why", "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn", "fork");
  const auto result =
      run_program({"unshare", "--mount", "/bin/sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" no-proc \"$1\"",
                   program_path("process_victim"), method});
  if (result.out.empty()) MP_SKIP("/proc cannot be hidden here");
  INFO(result.out << result.err);
  if (!mp_test::address_sanitizer) CHECK(result.code == 0);  // its search for leaks fails without /proc
  CHECK_THAT(result.out, contains("/proc"));
}

TEST_CASE("start: no lock that a thread of ours holds reaches a child", "[process][faults]") {
  const auto result = victim({"hammer", GENERATE("forkserver", "spawn")}, {}, 110);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
}

TEST_CASE("start: a preload function runs once before children, and its failure is told", "[process]") {
  CHECK_THAT(victim({"preload"}).out, contains("exited with code 7"));
  CHECK_THAT(victim({"preload"}, {{"VICTIM_PRELOAD", "throw"}}).out,
             contains("the preload function threw std::runtime_error: model.bin is missing"));
  CHECK_THAT(victim({"preload"}, {{"VICTIM_PRELOAD", "crash"}}).out, contains("killed by SIGSEGV"));
  CHECK_THAT(victim({"preload"}, {{"VICTIM_PRELOAD", "hang"}}).out, contains("it said nothing in time"));
}

TEST_CASE(
    "start: start_timeout holds while the fork server that another thread starts is still in its preload function",
    "[process][faults]") {
  const auto result = victim({"preload-beside"}, {{"VICTIM_PRELOAD", "hang"}});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("the child process never came | "));
  CHECK_THAT(result.out, contains("another thread"));
}

TEST_CASE("start: a fork server with threads is not used, and that is said once", "[process][faults]") {
  const auto result = victim({"preload"}, {{"VICTIM_PRELOAD", "thread"}});
  CHECK_THAT(result.out, contains("exited with code"));
  CHECK_THAT(result.err, contains("mp: the fork server has 2 threads"));
}

TEST_CASE("process: an orderly end joins children, terminates daemons, and kills those that do not listen",
          "[process]") {
  const std::string method = GENERATE("", "exit", "this_process");
  const auto result = victim({"orderly-end", method});
  INFO(result.out << result.err);
  CHECK(result.code == 6);
  CHECK_THAT(result.out, contains("started"));
  CHECK_THAT(result.out, contains("keeper ended"));
}
