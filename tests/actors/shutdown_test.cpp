// Shutting down, by call and by signal: who ended, who was killed, that nothing runs on. Each in a process of its own.

#include "mp/shutdown.hpp"
#include "mp/detail/async.hpp"
#include "mp/process.hpp"
#include "supervisor_support.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

using account = std::tuple<std::vector<std::string>, std::vector<std::string>, std::size_t, std::string>;

std::string what_later_use_says(signs born) {
  std::string all;
  const auto add = [&](std::optional<mp::errc> code) { all += code == mp::errc::shut_down ? "shut_down " : "? "; };
  add(errc_of([&] { mp::process(serve, born).start(); }));
  add(errc_of([&] { mp::supervisor({}, {{.name = "late", .start = {serve, born}}}); }));
  add(errc_of([&] { mp::detail::io_thread_ref(); }));
  return all;
}

void shut_down_and_tell(signs born, mp::queue<account> tell_all) {
  mp::supervisor top({},
                     {{.name = "in tree", .start = {serve, born}}, {.name = "stays in tree", .start = {stay, born}}});
  mp::process plain({.name = "plain"}, sleep_on, born), stubborn({.name = "stubborn"}, stay, born);
  plain.start(), stubborn.start();
  for (int i = 0; i < 4; ++i) born.get();
  const mp::verdict v = mp::shutdown(400ms);
  std::string later = what_later_use_says(born);
  if (plain.join().signal() != SIGTERM || stubborn.join().signal() != SIGKILL) later += "join";
  if (!mp::shutdown(1s).ended.empty()) later += "again";
  tell_all.put({names(v.ended), names(v.killed), v.leaked.size(), later});
}

void wait_for_a_signal(signs born, std::chrono::milliseconds limit, bool stubborn) {
  mp::shutdown_on({SIGINT, SIGTERM}, limit);
  signs inner;
  mp::supervisor top({}, {{.name = "below", .start = {stubborn ? stay : sleep_on, inner}, .shutdown = 1h}});
  inner.get();  // whoever is below has come to its function
  born.put({"ready", mp::this_process::pid()});
  for (;;) ::pause();
}

void end_main_while_shutting_down(signs born) {
  mp::shutdown_on({SIGTERM}, 50ms);
  signs inner;
  mp::process below({.name = "below"}, stay, inner);
  below.start();
  inner.get();
  born.put({"ready", mp::this_process::pid()});
  // Returns when the shutdown kills it: then main comes to its end before the shutdown has come to its own.
  below.join();
}

std::atomic<bool> last_hook_runs{false};

bool main_pauses() {
  std::ifstream now("/proc/self/task/" + std::to_string(mp::this_process::pid()) + "/syscall");
  long number = -1;
  return (now >> number) && number == SYS_pause;
}

// main ends when all hooks are taken by the one who ends the process, and the last of them still runs.
void end_main_in_the_last_hook(signs born) {
  mp::at_exit([] {
    last_hook_runs = true;
    last_hook_runs.notify_all();
    static_cast<void>(eventually(main_pauses));
  });
  mp::shutdown_on({SIGTERM}, 50ms);
  born.put({"ready", mp::this_process::pid()});
  last_hook_runs.wait(false);
}

}  // namespace

TEST_CASE("shutdown: its verdict names who ended and who was killed; later use throws shut_down",
          "[shutdown][process]") {
  const io_ledger ledger;
  {
    signs born;
    mp::queue<account> told;
    mp::process subject(shut_down_and_tell, born, told);
    subject.start();
    const auto got = told.get_for(long_patience);
    REQUIRE(got);
    const auto& [ended, killed, leaked, later] = *got;
    CHECK(ended == std::vector<std::string>{"in tree", "plain"});
    CHECK(killed == std::vector<std::string>{"stays in tree", "stubborn"});
    CHECK(leaked == 0);
    CHECK(later == "shut_down shut_down shut_down ");
    CHECK(subject.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown_on: the first signal ends all in order, and then the process by that signal",
          "[shutdown][process]") {
  const int signal = GENERATE(SIGINT, SIGTERM);
  const io_ledger ledger;
  {
    signs born;
    mp::process subject(wait_for_a_signal, born, std::chrono::milliseconds(60s), false);
    subject.start();
    CHECK(expect(born).name == "ready");
    ::kill(subject.pid(), signal);
    CHECK(subject.join_for(long_patience) == mp::exit_status::signaled(signal));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown_on: whoever stays is killed when the time is up", "[shutdown][process]") {
  const io_ledger ledger;
  {
    signs born;
    mp::process subject({.err = mp::stdio::capture()}, wait_for_a_signal, born, 20ms, true);
    subject.start();
    CHECK(expect(born).name == "ready");
    ::kill(subject.pid(), SIGTERM);
    CHECK(subject.join_for(long_patience) == mp::exit_status::signaled(SIGTERM));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown_on: a second signal ends the process at once, and all below it", "[shutdown][process]") {
  const io_ledger ledger;
  {
    signs born;
    mp::process subject(wait_for_a_signal, born, std::chrono::milliseconds(1h), true);
    subject.start();
    CHECK(expect(born).name == "ready");
    ::kill(subject.pid(), SIGTERM);
    // The second may come before the first was handled: then it was none. A third and so on.
    REQUIRE(eventually([&] {
      ::kill(subject.pid(), SIGINT);
      return !subject.is_alive();
    }));
    CHECK(subject.join().is_signaled());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown_on: main may come to its end meanwhile; the process still ends by the signal",
          "[shutdown][process]") {
  const io_ledger ledger;
  for (const auto function : {end_main_while_shutting_down, end_main_in_the_last_hook}) {
    signs born;
    mp::process subject(function, born);
    subject.start();
    CHECK(expect(born).name == "ready");
    ::kill(subject.pid(), SIGTERM);
    const auto status = subject.join_for(long_patience);
    REQUIRE(status);
    CHECK(*status == mp::exit_status::signaled(SIGTERM));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown_on: refuses what is no signal, or cannot be caught", "[shutdown][unit]") {
  CHECK_ERRC(mp::shutdown_on({SIGKILL}), invalid_argument);
  CHECK_ERRC(mp::shutdown_on({SIGSTOP}), invalid_argument);
  CHECK_ERRC(mp::shutdown_on({0}), invalid_argument);
  CHECK_ERRC(mp::shutdown_on({12345}), invalid_argument);
}
