// Floor 2 by itself: pidfds, control records, lifelines, raw forks. FAULTS 24, 25, 41, 63, 82.

#include "os/control.hpp"
#include "os/fork_guard.hpp"
#include "os/lifeline.hpp"
#include "os/modules.hpp"
#include "os/pidfd.hpp"
#include "os/socket.hpp"
#include "os/spawn.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <string>
#include <vector>

using namespace mp_test;
namespace os = mp::os;

namespace {

pid_t raw_child(int code) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(code);
  return pid;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("pidfd: the end of a child is told once by its parent's wait, and by the zombie to anybody",
          "[process][unit]") {
  const pid_t pid = raw_child(37);
  const mp::unique_fd pidfd = os::open_pidfd(pid);
  REQUIRE(readable(pidfd.get()));
  CHECK(os::has_ended(pidfd.get()));
  CHECK(os::ask_zombie(pid, pidfd.get()) == mp::exit_status::exited(37));
  CHECK(os::wait_own(pidfd.get())->status == mp::exit_status::exited(37));
  CHECK_FALSE(os::wait_own(pidfd.get()));
  CHECK_FALSE(os::ask_zombie(pid, pidfd.get()));
  if (const auto status = os::ask_kernel(pidfd.get())) CHECK(*status == mp::exit_status::exited(37));
}

TEST_CASE("pidfd: what still runs has no status", "[process][unit]") {
  forked_child child([] {
    ::pause();
    return 0;
  });
  const mp::unique_fd pidfd = os::open_pidfd(child.pid());
  CHECK_FALSE(os::has_ended(pidfd.get()));
  CHECK_FALSE(os::wait_own(pidfd.get()));
  CHECK_FALSE(os::ask_zombie(child.pid(), pidfd.get()));
  CHECK_FALSE(os::ask_kernel(pidfd.get()));
}

TEST_CASE("pidfd: a process that got the number of an ended one gets no signal meant for that", "[process][faults]") {
  const pid_t first = raw_child(0);
  const mp::unique_fd pidfd = os::open_pidfd(first);
  ::waitpid(first, nullptr, 0);
  pid_t second = -1;
  for (int tries = 0; tries < 50 && second != first; ++tries) {
    if (second > 0) {
      ::kill(second, SIGKILL);
      ::waitpid(second, nullptr, 0);
    }
    std::ofstream last("/proc/sys/kernel/ns_last_pid");
    if (!(last << first - 1) || !last.flush()) MP_SKIP("the next pid cannot be chosen here");
    second = ::fork();
    if (second == 0)
      for (;;) ::pause();
  }
  if (second == first) {
    CHECK(os::send_signal(pidfd.get(), SIGKILL) == ESRCH);
    CHECK(::waitpid(second, nullptr, WNOHANG) == 0);
  }
  ::kill(second, SIGKILL);
  ::waitpid(second, nullptr, 0);
  if (second != first) MP_SKIP("others took the pid every time");
}

TEST_CASE("control: messages of every size arrive whole, with their descriptors", "[process][unit]") {
  const fd_ledger ledger;
  {
    const std::size_t size =
        GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{32'768}, std::size_t{32'769}, std::size_t{3'000'000});
    const std::size_t fds =
        GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{200}, std::size_t{201}, std::size_t{450});
    auto [a, b] = os::make_socket_pair();
    std::string text(size, 'x');
    if (size > 0) text.back() = 'y';
    const std::vector<int> given(fds, 2);
    REQUIRE(os::send_control(a.get(), os::control_kind::task, bytes_of(text), given, mp::time_point::max()) == 0);
    os::control_message message;
    REQUIRE(os::receive_control(b.get(), message, false) == os::control_status::ok);
    CHECK(message.kind == os::control_kind::task);
    CHECK(message.fds.size() == fds);
    REQUIRE(message.body().size() == size);
    CHECK(std::equal(message.body().begin(), message.body().end(), bytes_of(text).begin()));
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::nothing);
    a.reset();
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::ended);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("control: noise and surplus descriptors are broken, and nothing of them stays", "[process][faults]") {
  const fd_ledger ledger;
  {
    auto [a, b] = os::make_socket_pair();
    os::control_message message;
    const std::array<int, 3> surplus{0, 1, 2};
    REQUIRE(os::send_with_fds(a.get(), bytes_of("noise"), {}) > 0);
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::broken);
    os::control_header header{static_cast<std::uint32_t>(os::control_kind::ready), 1, 0};
    REQUIRE(os::send_with_fds(a.get(), std::as_bytes(std::span(&header, 1)), surplus) > 0);
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::broken);
    header = {static_cast<std::uint32_t>(os::control_kind::ready), 0, 7};
    REQUIRE(os::send_with_fds(a.get(), std::as_bytes(std::span(&header, 1)), {}) > 0);
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::broken);
    header = {static_cast<std::uint32_t>(os::control_kind::ready), 0, ~std::uint64_t{0}};
    REQUIRE(os::send_with_fds(a.get(), std::as_bytes(std::span(&header, 1)), {}) > 0);
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::broken);
    REQUIRE(os::send_control(a.get(), os::control_kind::ready, {}, {}, mp::time_point::max()) == 0);
    CHECK(os::receive_control(b.get(), message, false) == os::control_status::ok);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("control: descriptors for which the receiver has no room are seen to be missing", "[process][faults]") {
  const fd_ledger ledger;
  {
    auto [a, b] = os::make_socket_pair();
    const std::array<int, 3> given{0, 1, 2};
    REQUIRE(os::send_control(a.get(), os::control_kind::task, {}, given, mp::time_point::max()) == 0);
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    std::vector<mp::unique_fd> filling;
    for (int i = 0; i < 64; ++i) filling.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    int highest = 0;
    for (const auto& fd : filling) highest = std::max(highest, fd.get());
    const rlimit tight{static_cast<rlim_t>(highest + 2), before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &tight);
    os::control_message message;
    const auto got = os::receive_control(b.get(), message, false);
    ::setrlimit(RLIMIT_NOFILE, &before);
    CHECK(got == os::control_status::broken);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("control: what was sent before a death is read before the end, although something was left unread",
          "[process][faults]") {
  auto [a, b] = os::make_socket_pair();
  REQUIRE(os::send_control(b.get(), os::control_kind::task, {}, {}, mp::time_point::max()) == 0);
  REQUIRE(os::send_control(a.get(), os::control_kind::ready, {}, {}, mp::time_point::max()) == 0);
  REQUIRE(os::send_control(a.get(), os::control_kind::failure, {}, {}, mp::time_point::max()) == 0);
  a.reset();
  os::control_message message;
  CHECK(os::receive_control(b.get(), message, true) == os::control_status::ok);
  CHECK(message.kind == os::control_kind::ready);
  CHECK(os::receive_control(b.get(), message, true) == os::control_status::ok);
  CHECK(message.kind == os::control_kind::failure);
  CHECK(os::receive_control(b.get(), message, true) == os::control_status::ended);
}

TEST_CASE("lifeline: kills a child that computes, is stopped, or is not armed before its parent has gone",
          "[process][faults]") {
  const int state = GENERATE(0, 1, 2);
  CAPTURE(state);
  fact_pipe armed;
  int raw[2];
  REQUIRE(::pipe2(raw, O_CLOEXEC) == 0);
  const mp::unique_fd read(raw[0]);
  mp::unique_fd write(raw[1]);
  forked_child child([&] {
    ::close(raw[1]);
    const int own = os::reopen_lifeline(read.get());
    if (state == 2) {
      armed.tell();
      // Until the parent has let go: no signal can come from what is not armed.
      while (os::lifeline_is_up(own)) {
      }
    }
    if (os::arm_lifeline(own) != 0) return 1;
    armed.tell();
    if (state == 1) ::raise(SIGSTOP);
    for (std::atomic<unsigned> spin{0};; spin.fetch_add(1, std::memory_order_relaxed)) {
    }
    return 2;
  });
  REQUIRE(armed.hear());
  if (state == 1) REQUIRE(::waitpid(child.pid(), nullptr, WSTOPPED) == child.pid());
  write.reset();
  const auto status = child.wait();
  REQUIRE(status);
  CHECK(WIFSIGNALED(*status));
  CHECK(WTERMSIG(*status) == SIGKILL);
}

TEST_CASE("fork guard: a forked copy has another generation, none of the guarded descriptors, and runs the hooks",
          "[process][unit]") {
  static int hook_runs = 0;
  static const bool added = os::add_fork_hook([](void* runs) noexcept { ++*static_cast<int*>(runs); }, &hook_runs);
  REQUIRE(added);
  const std::uint64_t ours = os::fork_generation();
  CHECK(ours == os::fork_generation());
  os::guarded_fd guarded{mp::unique_fd(::dup(0))};
  const mp::unique_fd plain(::dup(0));
  const int number = guarded.get();
  forked_child copy([&] {
    if (os::fork_generation() == ours || os::fork_generation() == 0) return 1;
    if (::fcntl(number, F_GETFD) != -1) return 2;
    if (::fcntl(plain.get(), F_GETFD) < 0) return 3;
    if (hook_runs != 1) return 4;
    // The number is somebody else's now: letting go of the copied owner must not close it.
    if (::dup2(0, number) != number) return 5;
    guarded.reset();
    return ::fcntl(number, F_GETFD) >= 0 ? 0 : 6;
  });
  const auto status = copy.wait();
  REQUIRE(status);
  CHECK(WEXITSTATUS(*status) == 0);
  CHECK(hook_runs == 0);
  CHECK(::fcntl(number, F_GETFD) >= 0);
  CHECK_ERRC(os::check_process(ours + 1, "a test"), wrong_process);
}

TEST_CASE("spawn: a mark that was meant for another process is not believed, and goes", "[process][unit]") {
  ::setenv("MP_CHILD", ("w:" + std::string(10, '0')).c_str(), 1);
  CHECK_FALSE(os::recognise_spawned());
  CHECK(::getenv("MP_CHILD") == nullptr);
  char mark[32];
  std::snprintf(mark, sizeof mark, "w:%010d", static_cast<int>(::getpid()));
  ::setenv("MP_CHILD", mark, 1);
  CHECK_FALSE(os::recognise_spawned());  // descriptor 3 is no socket of ours
  ::setenv("MP_CHILD", "nonsense", 1);
  CHECK_FALSE(os::recognise_spawned());
  CHECK(::getenv("MP_CHILD") == nullptr);
}

TEST_CASE(
    "build marks: a module of the same name in another build is found, and one that only one side has is no matter",
    "[process][faults]") {
  os::remember_image();
  auto marks = os::build_marks();
  REQUIRE(marks.size() >= 3);  // the program, the C++ library, the C library
  CHECK(os::different_module(marks).empty());
  marks.push_back({0x1234, 0x5678});
  CHECK(os::different_module(marks).empty());
  marks[0].build_hash ^= 1;
  CHECK(os::different_module(marks) == "the program itself");
  marks[0].build_hash ^= 1;
  for (auto& mark : marks)
    if (mark.name_hash != 1) mark.build_hash ^= 1;
  CHECK_THAT(os::different_module(marks), contains(".so"));
}
