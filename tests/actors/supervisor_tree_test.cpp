// Trees of supervisors, seats that outlive their holders, ends from outside, other start methods.

#include "mp/mailbox.hpp"
#include "mp/process.hpp"
#include "supervisor_support.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <memory>
#include <optional>
#include <thread>

using namespace mp_test;
using namespace std::chrono_literals;
using mp::restart;
using mp::strategy;

namespace {

/// Answers numbers with {number, own pid}; "die" kills it, "leave" ends it in order.
void answer(signs born) {
  tell(born);
  for (;;)
    mp::receive([](int n) { mp::mailbox{}.sender().send(n, mp::this_process::pid()); },
                [](const std::string& how) {
                  if (how == "die") ::kill(::getpid(), SIGKILL);
                  mp::this_process::exit(0);
                });
}

std::pair<int, pid_t> expect_answer() {
  std::optional<std::pair<int, pid_t>> got;
  const bool came = mp::mailbox{}.receive_for(long_patience, [&](int n, pid_t who) { got.emplace(n, who); });
  REQUIRE(came);
  return *got;
}

const mp::restart_limits quick{.intensity = 50, .period = 60s, .back_off = {.first = 1ms, .most = 2ms}};

}  // namespace

TEST_CASE("supervisor: a nested one that gives up is started again by the one above", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(
        {.restart = quick, .on_event = book.writer()},
        {{.name = "below",
          .supervise = {{.restart = {.intensity = 1, .period = 60s, .back_off = quick.back_off}},
                        {{.name = "leaf", .start = {sleep_on, born}}, {.name = "bud", .start = {serve, born}}}}}});
    CHECK(top.count_children().supervisors == 1);
    CHECK(info_of(top, "below").is_supervisor);
    CHECK_ERRC(top.address("below"), invalid_argument);
    // Twice killed: one restart, then it gives up, and both start anew under a new one.
    std::size_t leaves = 0, buds = 0;
    while (leaves < 3 || buds < 2) {
      const sign s = expect(born);
      if (s.name != "leaf") {
        ++buds;
        continue;
      }
      ++leaves;
      if (leaves < 3) ::kill(s.pid, SIGKILL);
    }
    const auto events = book.wait(1);
    CHECK(events[0].child == "below");
    CHECK(events[0].status.code() == 1);
    const auto v = top.stop();
    CHECK(v.clean());
    CHECK(v.ended.size() == 2);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: what goes wrong below ends at the top as restarts_exceeded", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    const mp::restart_limits once{.intensity = 1, .period = 60s, .back_off = quick.back_off};
    mp::supervisor top(
        {.restart = once},
        {{.name = "good", .start = {serve, born}},
         {.name = "below", .supervise = {{.restart = once}, {{.name = "bad", .start = {leave, born, 9}}}}}});
    CHECK_ERRC(top.join(), restarts_exceeded);
    CHECK(what_of([&] { top.join(); }).find("\"below\"") != std::string::npos);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: an address is valid across restarts, and what was not taken is for the next holder",
          "[supervisor][process]") {
  mp::mailbox{}.address().send(0, pid_t{0});  // our own mailbox stays: it is brought up before we count
  expect_answer();
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({.restart = quick}, {{.name = "echo", .start = {answer, born}}});
    const mp::address echo = top.address("echo");
    CHECK(echo == top.address("echo"));
    pid_t before = expect(born).pid;
    CHECK(echo.pid() == before);
    CHECK(echo.is_alive());
    for (int i = 0; i < 3; ++i) {
      echo.send(i);
      CHECK(expect_answer() == std::pair(i, before));
      echo.send("die");
      // It may be dead by now, and nobody there yet.
      REQUIRE(eventually([&] { return errc_of([&] { return echo.send(i + 100), 0; }) != mp::errc::peer_died; }));
      const pid_t now = expect(born).pid;
      CHECK(now != before);
      CHECK(expect_answer() == std::pair(i + 100, now));
      CHECK(echo.pid() == now);
      before = now;
    }
    CHECK(top.stop().clean());
    CHECK_ERRC(echo.send(1), closed);
    CHECK_FALSE(echo.is_alive());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: in a gap a send to a seat throws peer_died", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({.restart = {.intensity = 5, .period = 60s, .back_off = {.first = 10min, .most = 10min}}},
                       {{.name = "echo", .start = {answer, born}}});
    const mp::address echo = top.address("echo");
    expect(born);
    echo.send("die");
    REQUIRE(eventually([&] { return info_of(top, "echo").pid == 0; }));
    CHECK_ERRC(echo.send(1), peer_died);
    top.restart_child("echo");
    const pid_t now = expect(born).pid;
    echo.send(1);
    CHECK(expect_answer() == std::pair(1, now));
    echo.send("leave");
    REQUIRE(eventually([&] { return info_of(top, "echo").pid == 0; }));
    CHECK_ERRC(echo.send(1), peer_died);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: a seat's address in another process stays valid, too", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({.restart = quick}, {{.name = "echo", .start = {answer, born}}});
    mp::queue<std::pair<int, pid_t>> heard;
    mp::queue<int> ask;
    mp::process other{[](mp::address echo, mp::receiver<int> questions, mp::sender<std::pair<int, pid_t>> to) {
                        for (const int n : questions) {
                          // The new holder may say that it is there a moment before it has its mailbox.
                          while (mp_test::errc_of([&] { echo.send(n); }) == mp::errc::peer_died)
                            std::this_thread::yield();
                          mp::receive([&](int back, pid_t who) { to.put({back, who}); });
                        }
                      },
                      top.address("echo"), ask, heard};
    other.start();
    for (int i = 0; i < 3; ++i) {
      const pid_t now = expect(born).pid;
      ask.put(i);
      const auto got = heard.get_for(long_patience);
      REQUIRE(got);
      CHECK(*got == std::pair(i, now));
      ::kill(now, SIGKILL);
    }
    ask.close();
    CHECK(other.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: every start method serves", "[supervisor][process]") {
  const auto method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({.restart = quick},
                       {{.name = "a", .start = {serve, born}, .options = {.start_method = method}}});
    ::kill(expect(born).pid, SIGABRT);
    expect(born);
    CHECK(top.stop().clean());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: stopping it while children die and start leaves nothing", "[supervisor][process]") {
  signs warm;
  for (int round = 0; round < 10; ++round) {
    const io_ledger ledger;
    {
      signs born;
      const auto open = born.sender();
      mp::supervisor top({.strategy = strategy::one_for_all,
                          .restart = {.intensity = 100'000, .back_off = {.first = 0ms, .most = 0ms}}},
                         {{.name = "a", .start = {serve, born}}, {.name = "b", .start = {leave, born, 1}}});
      for (int i = 0; i < round; ++i) expect(born);
    }
    CHECK_CLEAN(ledger);
  }
}

TEST_CASE("supervisor: callers on other threads are served or told closed when it stops", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({});
    std::optional<mp::errc> seen;
    std::thread caller([&] {
      for (int i = 0; !seen; ++i)
        seen = errc_of([&] { top.start_child({.name = std::to_string(i), .start = {serve, born}}); });
    });
    for (int i = 0; i < 3; ++i) expect(born);
    const auto v = top.stop();
    caller.join();
    CHECK(seen == mp::errc::closed);
    CHECK(v.clean());
    CHECK(v.ended.size() >= 3);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: its calls on the I/O thread throw would_deadlock", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    std::promise<std::optional<mp::errc>> stop_says;
    mp::supervisor* there = nullptr;
    std::promise<void> made;
    mp::supervisor top({.on_event =
                            [&](const mp::child_event&) {
                              made.get_future().wait();
                              stop_says.set_value(errc_of([&] { there->stop(); }));
                            }},
                       {{.name = "a", .start = {leave, born, 0}, .restart = restart::temporary}});
    there = &top;
    made.set_value();
    auto says = stop_says.get_future();
    REQUIRE(says.wait_for(patience) == std::future_status::ready);
    CHECK(says.get() == mp::errc::would_deadlock);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: events are told on the executor of its options, otherwise on the I/O thread",
          "[supervisor][process]") {
  const io_ledger ledger;
  {
    std::promise<std::thread::id> io_thread;
    mp::detail::post_to(mp::detail::io_thread_ref(), [&] { io_thread.set_value(std::this_thread::get_id()); });
    boost::asio::io_context context;
    auto work = boost::asio::make_work_guard(context);
    std::jthread runs([&] { context.run(); });
    const std::pair<mp::callback_executor, std::thread::id> rows[] = {{{}, io_thread.get_future().get()},
                                                                      {context.get_executor(), runs.get_id()}};
    for (const auto& row : rows) {
      const auto told = std::make_shared<std::promise<std::thread::id>>();
      mp::supervisor top({.on_event = [told](const mp::child_event&) { told->set_value(std::this_thread::get_id()); },
                          .executor = row.first},
                         {{.name = "once", .start = [] {}, .restart = restart::temporary}});
      auto where = told->get_future();
      REQUIRE(where.wait_for(patience) == std::future_status::ready);
      CHECK(where.get() == row.second);
      // A completion that names an executor of its own runs there, too.
      std::promise<std::thread::id> joined;
      top.async_join(boost::asio::bind_executor(
          context, [&](std::exception_ptr, const mp::verdict&) { joined.set_value(std::this_thread::get_id()); }));
      CHECK(top.stop().clean());
      CHECK(joined.get_future().get() == runs.get_id());
    }
    work.reset();
  }
  CHECK_CLEAN(ledger);
}
