// What a child takes over from its parent, what it is given instead, and what it must not have. FAULTS 40.

#include "process_support.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>
#include <set>
#include <vector>

using namespace mp_test;

namespace {

/// A directory of our own, removed at the end.
class folder {
public:
  folder() {
    std::string name = (std::filesystem::temp_directory_path() / "mp-test-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// The working directory, put back at the end.
struct directory_kept {
  std::filesystem::path before = std::filesystem::current_path();
  ~directory_kept() { std::filesystem::current_path(before); }
};

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void say_directory() { std::cout << std::filesystem::current_path().string(); }
void say_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  std::cout << (value ? value : "(none)");
}
void say_umask() {
  const mode_t mask = ::umask(0);
  std::cout << std::oct << mask;
}
void say_limit() {
  rlimit l{};
  ::getrlimit(RLIMIT_NOFILE, &l);
  std::cout << l.rlim_cur;
}
void say_processors() {
  cpu_set_t set;
  ::sched_getaffinity(0, sizeof set, &set);
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &set)) std::cout << i << ' ';
}
void echo() {
  std::cout << "[" << std::cin.rdbuf() << "]";
  std::cerr << "to err";
}
void say_descriptors() {
  std::set<int> numbers;
  DIR* all = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(all))
    if (entry->d_name[0] != '.' && std::atoi(entry->d_name) != ::dirfd(all)) numbers.insert(std::atoi(entry->d_name));
  ::closedir(all);
  for (const int n : numbers) {
    const auto target = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(n)).string();
    std::cout << n << ' ' << target << ' ' << (::fcntl(n, F_GETFD) & FD_CLOEXEC) << '\n';
  }
}
std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("start: a child begins in our directory as it is at start", "[process]") {
  const auto method = any_method();
  const folder other;
  const directory_kept kept;
  CHECK(run_and_read({.start_method = method}, say_directory).out == kept.before.string());
  std::filesystem::current_path(other.path());
  CHECK(run_and_read({.start_method = method}, say_directory).out == other.path().string());
  std::filesystem::create_directory("below");
  CHECK(run_and_read({.start_method = method, .working_directory = "below"}, say_directory).out ==
        (other.path() / "below").string());
}

TEST_CASE("options: a path is taken from every kind of text and given back", "[process]") {
  const std::filesystem::path path = "/tmp/a b";
  const mp::process_options options{.working_directory = path / "c"};
  CHECK(options.working_directory == mp::file_path("/tmp/a b/c"));
  CHECK(options.working_directory.string() == "/tmp/a b/c");
  const std::filesystem::path back = options.working_directory;
  CHECK(back == path / "c");
  CHECK(mp::file_path(std::string("x")) == mp::file_path(std::string_view("x")));
  CHECK(mp::process_options{}.working_directory.empty());
  CHECK(mp::stdio::file(path, true).path() == path);
  CHECK(mp::stdio::file(std::filesystem::directory_entry("/tmp")).path() == mp::file_path("/tmp"));
}

TEST_CASE("start: a directory that is not there is start_failed, and no child is left", "[process]") {
  const auto method = any_method();
  const fd_ledger ledger;
  mp::process p({.start_method = method, .working_directory = "/no/such/folder"}, do_nothing);
  CHECK_THAT(what_of([&] { return p.start(), 0; }), contains("/no/such/folder: No such file or directory"));
  CHECK_ERRC(p.start(), start_failed);
  CHECK_CLEAN(ledger);
}

TEST_CASE("start: a child has our environment as it is at start, with the changes that were asked for", "[process]") {
  const auto method = any_method();
  ::setenv("MP_TEST_VARIABLE", "early", 1);
  CHECK(run_and_read({.start_method = method}, say_variable, "MP_TEST_VARIABLE").out == "early");
  ::setenv("MP_TEST_VARIABLE", "late", 1);
  CHECK(run_and_read({.start_method = method}, say_variable, "MP_TEST_VARIABLE").out == "late");
  CHECK(run_and_read({.start_method = method, .environment = {{"MP_TEST_VARIABLE", "given"}}}, say_variable,
                     "MP_TEST_VARIABLE")
            .out == "given");
  CHECK(run_and_read({.start_method = method, .environment = {{"MP_TEST_VARIABLE", std::nullopt}}}, say_variable,
                     "MP_TEST_VARIABLE")
            .out == "(none)");
  ::unsetenv("MP_TEST_VARIABLE");
  CHECK(run_and_read({.start_method = method}, say_variable, "MP_TEST_VARIABLE").out == "(none)");
  CHECK_ERRC(mp::process({.environment = {{"A=B", "c"}}}, do_nothing).start(), invalid_argument);
}

TEST_CASE("start: a child has our file mode mask as it is at start", "[process]") {
  const auto method = any_method();
  const mode_t before = ::umask(027);
  CHECK(run_and_read({.start_method = method}, say_umask).out == "27");
  ::umask(077);
  CHECK(run_and_read({.start_method = method}, say_umask).out == "77");
  ::umask(before);
}

TEST_CASE("start: a child has our limits as they are at start, or those it is given", "[process]") {
  const auto method = any_method();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  if (before.rlim_cur < 512) MP_SKIP("fewer than 512 descriptors are allowed");
  CHECK(run_and_read({.start_method = method}, say_limit).out == std::to_string(before.rlim_cur));
  const rlimit lower{500, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &lower);
  CHECK(run_and_read({.start_method = method}, say_limit).out == "500");
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(run_and_read({.start_method = method, .rlimits = {.open_files = 300}}, say_limit).out == "300");
}

TEST_CASE("start: an allocation beyond the memory limit throws bad_alloc in the child", "[process]") {
  if (mp_test::address_sanitizer) MP_SKIP("the sanitizer's allocator ends the process instead");
  mp::process p({.err = mp::stdio::null(), .rlimits = {.memory = std::size_t{512} << 20}},
                [] { std::vector<char> much(std::size_t{1} << 30); });
  CHECK(p.start().join() == mp::exit_status::exited(1));
  CHECK(p.failure().value().type_name == "std::bad_alloc");
}

TEST_CASE("start: a child runs on our processors, or on those it is given", "[process]") {
  const auto method = any_method();
  cpu_set_t before, one;
  ::sched_getaffinity(0, sizeof before, &before);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CHECK(run_and_read({.start_method = method, .cpu_affinity = {first}}, say_processors).out ==
        std::to_string(first) + " ");
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ::sched_setaffinity(0, sizeof one, &one);
  CHECK(run_and_read({.start_method = method}, say_processors).out == std::to_string(first) + " ");
  CHECK(run_and_read({.start_method = method}, [] { std::cout << mp::cpu_count(); }).out == "1");
  ::sched_setaffinity(0, sizeof before, &before);
  CHECK_ERRC(mp::process({.cpu_affinity = {-1}}, do_nothing).start(), invalid_argument);
}

TEST_CASE("start: a nice value is added to ours", "[process]") {
  const int ours = ::getpriority(PRIO_PROCESS, 0);
  if (ours > 17) MP_SKIP("there is no room above our nice value");
  const auto method = any_method();
  CHECK(run_and_read({.start_method = method, .nice = 2}, [] { std::cout << ::getpriority(PRIO_PROCESS, 0); }).out ==
        std::to_string(ours + 2));
}

TEST_CASE("start: a child is in our process group and session, with default signals", "[process]") {
  const auto method = any_method();
  ::signal(SIGUSR1, SIG_IGN);
  const auto child = run_and_read({.start_method = method}, [] {
    struct sigaction now;
    bool standard = true;
    for (const int s : {SIGINT, SIGUSR1, SIGCHLD, SIGPIPE, SIGTERM}) {
      ::sigaction(s, nullptr, &now);
      standard = standard && now.sa_handler == SIG_DFL;
    }
    sigset_t mask;
    ::sigprocmask(SIG_SETMASK, nullptr, &mask);
    std::cout << ::getpgrp() << ' ' << ::getsid(0) << ' ' << standard << ' ' << ::sigismember(&mask, SIGCHLD);
  });
  ::signal(SIGUSR1, SIG_DFL);
  CHECK(child.out == std::to_string(::getpgrp()) + " " + std::to_string(::getsid(0)) + " 1 0");
}

TEST_CASE("start: stdin is empty by default, and each stream goes where it is sent", "[process]") {
  const auto method = any_method();
  const folder where;
  CHECK(run_and_read({.start_method = method, .err = mp::stdio::null()}, echo).out ==
        "[");  // an empty rdbuf fails cout

  mp::process p({.start_method = method, .in = mp::stdio::pipe(), .out = mp::stdio::pipe(), .err = mp::stdio::pipe()},
                echo);
  p.start();
  REQUIRE(::write(p.take_in().get(), "abc", 3) == 3);
  CHECK(read_all(p.take_out()) == "[abc]");
  CHECK(read_all(p.take_err()) == "to err");
  CHECK(p.join().success());

  const auto in = where.path() / "in", out = where.path() / "out";
  std::ofstream(in) << "from file";
  std::ofstream(out) << "before ";
  mp::process files({.start_method = method,
                     .in = mp::stdio::file(in),
                     .out = mp::stdio::file(out, true),
                     .err = mp::stdio::file(where.path() / "err")},
                    echo);
  CHECK(files.start().join().success());
  CHECK(content(out) == "before [from file]");
  CHECK(content(where.path() / "err") == "to err");

  const mp::unique_fd given(::open((where.path() / "fd").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  mp::process by_number({.start_method = method, .err = mp::stdio::fd(given.get())}, [] { std::cerr << "by number"; });
  CHECK(by_number.start().join().success());
  CHECK(content(where.path() / "fd") == "by number");
  CHECK_ERRC(mp::process({.out = mp::stdio::fd(987654)}, do_nothing).start(), invalid_argument);
  CHECK_ERRC(mp::process({.in = mp::stdio::capture()}, do_nothing).start(), invalid_argument);
  CHECK_ERRC(mp::process({.in = mp::stdio::file(where.path() / "none")}, do_nothing).start(), start_failed);
}

TEST_CASE("start: children start although our own streams are closed", "[process]") {
  const auto method = any_method();
  mp::process p(
      {.start_method = method},
      [](mp::start_method below) {
        ::close(0);
        ::close(1);
        ::close(2);
        mp::process q({.start_method = below, .in = mp::stdio::inherit()}, [] {
          std::cout << "to nowhere";
          for (int fd = 0; fd < 3; ++fd)
            if (::fcntl(fd, F_GETFD) < 0) mp::this_process::exit(3);
        });
        mp::this_process::exit(q.start().join().code().value_or(99));
      },
      method);
  CHECK(p.start().join() == mp::exit_status::exited(0));
}

TEST_CASE("start: a child that was not forked from us holds none of our descriptors", "[process]") {
  const auto method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  CAPTURE(static_cast<int>(method));
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);  // not close-on-exec
  const mp::unique_fd one(ends[0]), other(ends[1]);
  const auto mine = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(ends[0])).string();
  std::vector<mp::process> siblings;
  for (int i = 0; i < 5; ++i) siblings.emplace_back(mp::process_options{.start_method = method}, wait_for_ever).start();
  const auto child = run_and_read({.start_method = method}, say_descriptors);
  for (auto& s : siblings) s.kill();
  for (auto& s : siblings) s.join();
  INFO(child.out);
  CHECK(child.out.find(mine) == std::string::npos);
  CHECK(lines(child.out) <= 10);
  const auto again = run_and_read({.start_method = method}, say_descriptors);
  CHECK(lines(again.out) == lines(child.out));
}

TEST_CASE("start: at every number of free descriptors a child starts, or out_of_resources leaves nothing behind",
          "[process][faults]") {
  const auto method = any_method();
  CAPTURE(static_cast<int>(method));
  warm_up();
  mp::process({.start_method = method}, do_nothing).start().join();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const fd_ledger ledger;
  int started = 0, refused = 0;
  for (int free = 0; free <= 40; ++free) {
    // The limit bounds numbers, not counts: fill the gaps below it first.
    std::vector<mp::unique_fd> filling;
    int highest = 0;
    for (int i = 0; i < 64; ++i) {
      filling.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      highest = std::max(highest, filling.back().get());
    }
    const rlimit tight{static_cast<rlim_t>(highest + 1 + free), before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &tight);
    std::optional<mp::errc> why;
    try {
      mp::process p({.start_method = method}, do_nothing);
      why = errc_of([&] { return p.start(), 0; });
      if (!why && p.join().success()) ++started;
    } catch (const mp::error& e) {
      why = static_cast<mp::errc>(e.code().value());
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
    if (why) {
      CAPTURE(free);
      CHECK(why == mp::errc::out_of_resources);
      ++refused;
    }
  }
  CHECK(started + refused == 41);
  CHECK(started > 20);
  CHECK(refused > 0);
  CHECK_CLEAN(ledger);
}

TEST_CASE("cpu_count: is at least one and at most what the affinity allows", "[process]") {
  cpu_set_t set;
  ::sched_getaffinity(0, sizeof set, &set);
  CHECK(mp::cpu_count() >= 1);
  CHECK(mp::cpu_count() <= CPU_COUNT(&set));
}
