#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"

#include "mp/detail/copy.hpp"
#include "mp/duration.hpp"
#include "mp/error.hpp"
#include "mp/exit_status.hpp"
#include "mp/unique_fd.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <limits>
#include <sstream>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;

TEST_CASE("error: every code has its own sentence", "[error][unit]") {
  std::set<std::string> sentences;
  for (int code = 1; code <= static_cast<int>(mp::errc::restarts_exceeded); ++code)
    sentences.insert(mp::category().message(code));

  CHECK(sentences.size() == static_cast<std::size_t>(mp::errc::restarts_exceeded));
  CHECK(mp::category().message(9999) == "unknown error 9999");
}

TEST_CASE("error: a code equals the standard condition where there is one", "[error][unit]") {
  CHECK(mp::make_error_code(mp::errc::closed) == std::errc::broken_pipe);
  CHECK(mp::make_error_code(mp::errc::invalid_argument) == std::errc::invalid_argument);
  CHECK(mp::make_error_code(mp::errc::fork_unsafe) != std::errc::broken_pipe);
}

TEST_CASE("error: is a std::system_error that keeps the system's code as its cause", "[error][unit]") {
  try {
    mp::detail::throw_system_error(mp::errc::start_failed, "cannot start", EPERM);
  } catch (const std::system_error& e) {
    CHECK(e.code() == mp::errc::start_failed);
    CHECK(dynamic_cast<const mp::error&>(e).cause() == std::errc::operation_not_permitted);
    CHECK(std::string(e.what()).starts_with("cannot start: "));
  }
}

TEST_CASE("error: a shortage is out_of_resources whatever was tried", "[error][unit]") {
  for (const int shortage : {EMFILE, ENFILE, ENOMEM, ENOSPC, EAGAIN})
    CHECK_ERRC(mp::detail::throw_system_error(mp::errc::start_failed, "x", shortage), out_of_resources);
  CHECK(mp_test::what_of([] {
          mp::detail::throw_system_error(mp::errc::start_failed, "x", EMFILE);
        }).find("ulimit -n") != std::string::npos);
}

TEST_CASE("error: an async completion compares equal to the code an exception carries", "[error][unit]") {
  CHECK(mp::detail::to_boost(mp::errc::closed) == mp::errc::closed);
  CHECK(mp::detail::to_boost(mp::errc::peer_died) != mp::errc::closed);
}

TEST_CASE("exit_status: says how a process ended and prints it", "[exit_status][unit]") {
  std::ostringstream out;
  out << mp::exit_status::exited(3) << '|' << mp::exit_status::signaled(SIGSEGV, true) << '|'
      << mp::exit_status::signaled(SIGRTMIN) << '|' << mp::exit_status();

  CHECK(out.str() == "exited with code 3|killed by SIGSEGV (core dumped)|killed by signal " + std::to_string(SIGRTMIN) +
                         "|ended, status unknown");
}

TEST_CASE("exit_status: code and signal are there only when they are true", "[exit_status][unit]") {
  CHECK(mp::exit_status::exited(0).success());
  CHECK_FALSE(mp::exit_status::exited(1).success());
  CHECK(mp::exit_status::exited(7).code() == 7);
  CHECK(mp::exit_status::exited(7).signal() == std::nullopt);
  CHECK(mp::exit_status::signaled(9).signal() == 9);
  CHECK(mp::exit_status::signaled(9).code() == std::nullopt);
  CHECK(mp::exit_status().is_unknown());
  CHECK(mp::exit_status() != mp::exit_status::exited(0));
}

TEST_CASE("duration: saturates instead of overflowing, and a negative length is nothing", "[duration][unit]") {
  CHECK(mp::duration(std::chrono::hours::max()).is_forever());
  CHECK(mp::duration(std::chrono::duration<double>(1e300)).is_forever());
  CHECK(mp::duration(-5s).count() == 0ns);
  CHECK(mp::duration(std::chrono::nanoseconds::min()).count() == 0ns);
  CHECK(mp::duration(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())).count() == 0ns);
  CHECK(mp::duration(0.5s).count() == 500ms);
  CHECK(mp::duration(std::chrono::nanoseconds::max() - 1ns).count() == std::chrono::nanoseconds::max() - 1ns);
}

TEST_CASE("duration: a deadline past the end of the clock is never", "[duration][unit]") {
  const auto now = mp::time_point(std::chrono::hours(1));

  CHECK(mp::deadline_after(now, std::chrono::hours::max()) == mp::time_point::max());
  CHECK(mp::deadline_after(now, std::chrono::nanoseconds::max() - 1ns) == mp::time_point::max());
  CHECK(mp::deadline_after(now, 5s) == now + 5s);
  CHECK(mp::deadline_after(now, -5s) == now);
}

TEST_CASE("unique_fd: closes what it owns once, and keeps errno", "[unique_fd][unit]") {
  const mp_test::fd_ledger ledger;
  {
    mp::unique_fd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(a);
    mp::unique_fd b = std::move(a);
    CHECK_FALSE(a);
    CHECK(b.get() >= 0);
    errno = EDOM;
    b.reset();
    CHECK(errno == EDOM);
    CHECK(b.get() == -1);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("unique_fd: release gives the descriptor away", "[unique_fd][unit]") {
  mp::unique_fd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int fd = a.release();
  a.reset();
  CHECK(::fcntl(fd, F_GETFD) == FD_CLOEXEC);
  CHECK(::close(fd) == 0);
}

TEST_CASE("test support: the ledger sees a descriptor and a zombie that stay behind", "[support][unit]") {
  const mp_test::fd_ledger ledger;
  CHECK(ledger.difference().empty());

  const mp::unique_fd leaked(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(ledger.difference().find("/dev/null") != std::string::npos);

  mp_test::forked_child zombie([] { return 0; });
  CHECK(ledger.difference().find("child " + std::to_string(zombie.pid())) != std::string::npos);
  CHECK(zombie.wait() == 0);
}

TEST_CASE("test support: a raw child answers by status and by a byte", "[support][unit]") {
  mp_test::fact_pipe facts;
  mp_test::forked_child child([&] {
    facts.tell('x');
    return 7;
  });
  facts.only_hear();

  CHECK(facts.hear() == 'x');
  CHECK(facts.hear() == std::nullopt);
  const auto status = child.wait();
  REQUIRE(status);
  CHECK(WEXITSTATUS(*status) == 7);
}

TEST_CASE("copy: all bytes arrive, and none beside them, whatever the length and the alignment", "[copy][unit]") {
  constexpr std::size_t most = mp::detail::past_caches_from + 200;
  std::vector<unsigned char> from(most + 64), to(most + 192), before(to.size(), 0xee);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<unsigned char>(i * 31 + i / 251);
  const auto check = [&](auto copy, std::size_t n, std::size_t out, std::size_t in) {
    CAPTURE(n, out, in);
    std::fill_n(to.begin(), out + n + 64, static_cast<unsigned char>(0xee));
    copy(to.data() + out, from.data() + in, n);
    const auto at = to.begin() + static_cast<std::ptrdiff_t>(out), end = at + static_cast<std::ptrdiff_t>(n);
    const bool same = std::equal(at, end, from.begin() + static_cast<std::ptrdiff_t>(in));
    const bool alone = std::equal(to.begin(), at, before.begin()) && std::equal(end, end + 64, before.begin());
    CHECK((same && alone));
  };
  for (std::size_t n = 0; n < 300; ++n)
    for (const std::size_t out : {0u, 1u, 8u, 63u})
      for (const std::size_t in : {0u, 3u, 16u}) {
        check(mp::detail::copy_bytes, n, out, in);
        check(mp::detail::copy_past_caches, n, out, in);
      }
  for (const std::size_t n : {most - 201, most - 200, most - 1, most})
    for (const std::size_t out : {0u, 7u, 64u}) check(mp::detail::copy_bytes, n, out, 5);
  mp::detail::copy_bytes(nullptr, nullptr, 0);
}

TEST_CASE("test support: a program's words and status come back, and a late one is killed", "[support][unit]") {
  const auto said =
      mp_test::run_program({"sh", "-c", "echo out; echo err >&2; echo $WORD; exit 3"}, {{"WORD", "bird"}});
  CHECK(said.code == 3);
  CHECK(said.out == "out\nbird\n");
  CHECK(said.err == "err\n");

  const auto late = mp_test::run_program({"cat", "/dev/zero"}, {}, 0);
  CHECK(late.late);
  CHECK(late.signal == SIGKILL);
}
