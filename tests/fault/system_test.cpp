// What happens when the system refuses something: calls that fail once, no pages, no room for a descriptor, memory that
// is not what it says, a number that somebody else has by now, another clock.

#include "os/memfd.hpp"

#include "mp/core.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using mp_test::run_program;
using namespace std::chrono_literals;

namespace {

using words = std::vector<std::string>;

bool strace_works() { return run_program({"strace", "-f", "-e", "trace=none", "true"}).code == 0; }

mp_test::outcome traced(const words& options, const std::string& mode) {
  words command{"strace", "-f", "-qq", "--seccomp-bpf"};
  command.insert(command.end(), options.begin(), options.end());
  command.push_back(mp_test::program_path("system_victim"));
  command.push_back(mode);
  return run_program(command, {}, 90);
}

/// How often each call is made before main has done anything: the loader's.
std::map<std::string, int> calls_before_main() {
  std::map<std::string, int> calls;
  std::istringstream table(traced({"-c"}, "nothing").err);
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string percent, seconds, each, name, rest;
    int count = 0;
    if (!(fields >> percent >> seconds >> each >> count)) continue;
    std::string word;
    while (fields >> word) name = word;
    calls[name] = count;
  }
  return calls;
}

/// How a round of the victim went, and how many descriptors it held then.
using round = std::pair<std::string, int>;
std::vector<round> rounds_of(const std::string& out) {
  std::vector<round> rounds;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string word;
    round r;
    if (fields >> word >> r.first >> r.second && word == "round") rounds.push_back(r);
  }
  return rounds;
}

/// No round holds more than one without a fault, and the last two hold alike if they went alike. (Those before may grow
/// up to it: what the library keeps for good is made at first use, and a child is forked ahead from the second start on.)
bool leaks_nothing(const std::vector<round>& rounds, int clean) {
  return rounds.size() == 5 && std::ranges::all_of(rounds, [&](const round& r) { return r.second <= clean; }) &&
         (rounds[4] == rounds[3] || rounds[4].first != rounds[3].first);
}

/// In a child: has no room for one more descriptor, then some again.
void get_without_room(mp::receiver<mp::unique_fd> in, mp::sender<std::string> out) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit before = limit;
  const mp::unique_fd highest(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  limit.rlim_cur = static_cast<rlim_t>(highest.get());
  ::setrlimit(RLIMIT_NOFILE, &limit);
  std::string said = "nothing";
  try {
    static_cast<void>(in.get());
  } catch (const mp::error& e) {
    said = e.code() == mp::errc::out_of_resources ? "out_of_resources"
           : e.code() == mp::errc::undecodable    ? "undecodable"
                                                  : e.what();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  out.put(said);
  const mp::unique_fd second = in.get();
  out.put(::fcntl(second.get(), F_GETFD) == FD_CLOEXEC ? "arrived" : "broken");
}

}  // namespace

TEST_CASE("system: a system call that fails once gives an answer or an error, and leaks nothing", "[system][fault]") {
  if (!strace_works()) MP_SKIP("strace cannot trace here");
  const std::map<std::string, std::vector<const char*>> faults{
      {"socketpair", {"EMFILE", "ENOMEM"}},
      {"memfd_create", {"EMFILE", "ENOMEM"}},
      {"ftruncate", {"ENOSPC"}},
      {"fallocate", {"ENOSPC", "EINTR"}},
      {"mmap", {"ENOMEM"}},
      {"openat", {"EMFILE", "ENFILE"}},
      {"sendmsg", {"EINTR", "ENOBUFS"}},
      {"recvmsg", {"EINTR", "ENOMEM"}},
      {"fcntl", {"EMFILE", "ENOLCK"}},
      {"pidfd_open", {"EMFILE"}},
      {"vfork", {"EAGAIN"}},
      {"clone", {"EAGAIN"}},
      {"clone3", {"EAGAIN"}},
      {"execveat", {"ENOMEM"}},
      {"dup", {"EMFILE"}},
      {"dup3", {"EMFILE"}},
      {"poll", {"EINTR", "ENOMEM"}},
      {"ppoll", {"EINTR"}},
      {"futex", {"EINTR", "EAGAIN"}},
      {"eventfd2", {"EMFILE"}},
      {"epoll_create1", {"EMFILE"}},
      {"epoll_ctl", {"ENOMEM"}},
      {"read", {"EINTR"}},
      {"membarrier", {"EPERM"}},
      {"waitid", {"EINTR"}},
      {"pipe2", {"EMFILE"}},
  };
  const auto before_main = calls_before_main();
  const auto without = rounds_of(traced({"-e", "trace=none"}, "everyday").out);
  REQUIRE(without.size() == 5);
  REQUIRE(without.back().first == "ok");
  const int clean = without.back().second;

  const int sites = std::getenv("MP_TEST_LONG") ? 12 : 2;
  int cases = 0, errors = 0;
  for (const auto& [call, codes] : faults) {
    const auto skipped = before_main.find(call);
    const int first = skipped == before_main.end() ? 1 : skipped->second + 1;
    for (const char* code : codes) {
      for (int site = first; site < first + sites; ++site) {
        const std::string inject = "inject=" + call + ":error=" + code + ":when=" + std::to_string(site);
        const auto got = traced({"-e", "trace=" + call, "-e", inject, "-o", "/dev/null"}, "everyday");
        INFO(inject << '\n' << got.out << got.err);
        CHECK_FALSE(got.late);
        CHECK(got.code == 0);
        CHECK(leaks_nothing(rounds_of(got.out), clean));
        ++cases;
        errors += got.out.find("round error") != std::string::npos;
      }
    }
  }
  std::cout << "figure: " << cases << " system calls refused once: " << errors
            << " seen as errors, 0 hangs, crashes, leaks\n";
}

TEST_CASE("system: a queue that gets no memory throws out_of_resources when it is made", "[system][fault]") {
  if (!strace_works()) MP_SKIP("strace cannot trace here");
  const auto got =
      traced({"-e", "trace=fallocate", "-e", "inject=fallocate:error=ENOSPC:when=1+", "-o", "/dev/null"}, "memory");
  INFO(got.out << got.err);
  CHECK(got.code == 3);
}

TEST_CASE("system: no wait looks at the wall clock", "[system][fault]") {
  if (!strace_works()) MP_SKIP("strace cannot trace here");
  const auto got = traced({"-e", "trace=futex,clock_nanosleep,timerfd_create"}, "everyday");
  REQUIRE(got.code == 0);

  int waits = 0, wall = 0;
  std::istringstream lines(got.err);
  for (std::string line; std::getline(lines, line);) {
    waits += line.find("FUTEX_WAIT") != std::string::npos;
    // glibc sets the bit without a time where a wait has no end.
    const bool timed = line.find("tv_sec") != std::string::npos;
    wall += timed && line.find("REALTIME") != std::string::npos;
  }
  CHECK(wall == 0);
  std::cout << "figure: " << waits << " futex waits, " << wall << " on the wall clock\n";
}

TEST_CASE("system: a number that somebody else has by now is never signalled", "[system][fault]") {
  const words command{"unshare",  "--pid", "--fork", "--mount-proc", mp_test::program_path("system_victim"),
                      "pid-reuse"};
  if (run_program({"unshare", "--pid", "--fork", "--mount-proc", "true"}).code != 0)
    MP_SKIP("no pid namespace can be made here");
  const auto got = run_program(command);
  INFO(got.out << got.err);
  if (got.code == 77) MP_SKIP("the kernel gave the number to nobody");
  CHECK(got.code == 0);
}

TEST_CASE("system: a receiver without room for a descriptor says so, and the next one arrives", "[system][fault]") {
  const mp_test::fd_ledger ledger;
  {
    mp::queue<mp::unique_fd> q;
    mp::queue<std::string> answers;
    q.put(mp::unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
    mp::process p{get_without_room, q, answers};
    p.start();
    const auto said = answers.get_for(mp_test::patience);
    REQUIRE(said);
    CHECK((*said == "out_of_resources" || *said == "undecodable"));
    q.put(mp::unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK(answers.get_for(mp_test::patience) == "arrived");
    CHECK(p.join_for(mp_test::patience) == mp::exit_status::exited(0));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("system: memory that is not sealed, too small, or no memfd is refused before it is mapped",
          "[system][fault]") {
  const auto sealed = mp::os::make_memfd("test", 1 << 20);
  CHECK(mp_test::errc_of([&] { return mp::os::check_memfd(sealed.get(), 1 << 20), 0; }) == std::nullopt);
  CHECK_ERRC(mp::os::check_memfd(sealed.get(), (1 << 20) + 1), bad_frame);

  const mp::unique_fd open_memory(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::ftruncate(open_memory.get(), 1 << 20) == 0);
  CHECK_ERRC(mp::os::check_memfd(open_memory.get(), 1 << 20), bad_frame);
  REQUIRE(::fcntl(open_memory.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0);
  CHECK_ERRC(mp::os::check_memfd(open_memory.get(), 1 << 20), bad_frame);

  const mp::unique_fd other(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  CHECK_ERRC(mp::os::check_memfd(other.get(), 0), bad_frame);
}
