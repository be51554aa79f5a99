// Supervisors with processes: strategies, kinds, budget, order, what is left.

#include "supervisor_support.hpp"

#include <boost/asio/use_future.hpp>

#include <future>

using namespace mp_test;
using namespace std::chrono_literals;
using mp::child_spec;
using mp::restart;
using mp::strategy;

namespace {

mp::supervisor_options plan(strategy s, event_book& book, std::ptrdiff_t intensity = 5) {
  return {.strategy = s,
          .restart = {.intensity = intensity, .period = 60s, .back_off = {.first = 1ms, .most = 2ms}},
          .on_event = book.writer()};
}

}  // namespace

TEST_CASE("supervisor: children start from left to right, and stop from right to left", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({}, {{.name = "a", .start = {serve, born}},
                            {.name = "b", .start = {sleep_on, born}},
                            {.name = "c", .start = {serve, born}}});
    const auto children = top.which_children();
    REQUIRE(children.size() == 3);
    CHECK(children[0].name == "a");
    CHECK(children[2].name == "c");
    for (const auto& c : children) CHECK(::kill(c.pid, 0) == 0);
    const auto counts = top.count_children();
    CHECK(counts.specs == 3);
    CHECK(counts.active == 3);
    CHECK(counts.workers == 3);
    CHECK(counts.supervisors == 0);
    for (int i = 0; i < 3; ++i) expect(born);

    const mp::verdict v = top.stop();
    CHECK(v.clean());
    CHECK(names(v.ended) == std::vector<std::string>{"c", "b", "a"});
    CHECK(v.ended[0].status.success());
    CHECK(v.ended[1].status.signal() == SIGTERM);
    CHECK(names(top.stop().ended) == names(v.ended));
    CHECK(top.join().clean());
    CHECK(top.join_for(0s).has_value());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: one_for_one starts the killed child again, and no other", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(plan(strategy::one_for_one, book),
                       {{.name = "a", .start = {serve, born}}, {.name = "b", .start = {serve, born}}});
    expect(born), expect(born);
    const auto before = top.which_children();
    ::kill(before[0].pid, SIGKILL);

    const sign again = expect(born);
    CHECK(again.name == "a");
    CHECK(again.pid != before[0].pid);
    const auto events = book.wait(1);
    CHECK(events[0].child == "a");
    CHECK(events[0].status.signal() == SIGKILL);
    CHECK(events[0].restarts == 1);
    CHECK_FALSE(events[0].gave_up);
    CHECK(info_of(top, "a").restarts == 1);
    CHECK(info_of(top, "a").last->signal() == SIGKILL);
    CHECK(info_of(top, "b").pid == before[1].pid);
    CHECK(top.stop().clean());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: one_for_all starts all again, in order", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(plan(strategy::one_for_all, book), {{.name = "a", .start = {serve, born}},
                                                           {.name = "b", .start = {serve, born}},
                                                           {.name = "c", .start = {serve, born}}});
    for (int i = 0; i < 3; ++i) expect(born);
    const auto before = top.which_children();
    ::kill(before[1].pid, SIGSEGV);
    for (int i = 0; i < 3; ++i) expect(born);

    REQUIRE(eventually([&] { return top.count_children().active == 3; }));
    const auto after = top.which_children();
    for (std::size_t i = 0; i < 3; ++i) CHECK(after[i].pid != before[i].pid);
    CHECK(after[1].restarts == 1);
    CHECK(after[0].restarts == 0);
    CHECK(top.stop().clean());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: rest_for_one starts the later ones again, and leaves the earlier", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(plan(strategy::rest_for_one, book),
                       {{.name = "a", .start = {serve, born}},
                        {.name = "b", .start = {serve, born}},
                        {.name = "t", .start = {serve, born}, .restart = restart::temporary},
                        {.name = "c", .start = {serve, born}}});
    for (int i = 0; i < 4; ++i) expect(born);
    const auto before = top.which_children();
    ::kill(before[1].pid, SIGKILL);
    CHECK(expect(born).name != "a");
    CHECK(expect(born).name != "a");

    REQUIRE(eventually([&] { return top.count_children().active == 3; }));
    const auto after = top.which_children();
    REQUIRE(after.size() == 3);  // the temporary one went with its specification
    CHECK(after[0].pid == before[0].pid);
    CHECK(after[1].pid != before[1].pid);
    CHECK(after[2].name == "c");
    CHECK(after[2].pid != before[3].pid);
    CHECK(top.stop().clean());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: restart kinds decide after success and failure", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(plan(strategy::one_for_one, book, 1000),
                       {{.name = "transient ok", .start = {leave, born, 0}, .restart = restart::transient},
                        {.name = "temporary bad", .start = {leave, born, 3}, .restart = restart::temporary},
                        {.name = "transient bad", .start = {leave, born, 4}, .restart = restart::transient},
                        {.name = "permanent ok", .start = {leave, born, 0}}});
    std::size_t bad = 0, ok = 0;
    while (bad < 3 || ok < 3) {
      const auto name = expect(born).name;
      bad += name == "transient bad";
      ok += name == "permanent ok";
    }
    REQUIRE(eventually([&] { return info_of(top, "transient ok").last.has_value(); }));
    CHECK(info_of(top, "transient ok").restarts == 0);
    CHECK(info_of(top, "transient ok").last->success());
    REQUIRE(eventually([&] { return info_of(top, "temporary bad").name.empty(); }));
    CHECK(top.stop().leaked.empty());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: a child that always dies ends in one clear error, and the others are stopped",
          "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born, quiet;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(plan(strategy::one_for_one, book, 3),
                       {{.name = "good", .start = {serve, quiet}}, {.name = "bad", .start = {leave, born, 7}}});
    CHECK_ERRC(top.join(), restarts_exceeded);
    CHECK(what_of([&] { top.join(); }).find("\"bad\" exited with code 7") != std::string::npos);
    const auto events = book.wait(4);
    CHECK(events.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(events[i].child == "bad");
      CHECK(events[i].restarts == i + 1);
      CHECK(events[i].gave_up == (i == 3));
    }
    const auto v = top.stop();
    CHECK(names(v.ended) == std::vector<std::string>{"good"});
    CHECK(top.which_children().empty());
    CHECK_ERRC(top.start_child({.name = "late", .start = {serve, quiet}}), closed);
    auto told = top.async_join(boost::asio::use_future);
    REQUIRE(told.wait_for(patience) == std::future_status::ready);
    CHECK_ERRC(told.get(), restarts_exceeded);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: a child that stays is killed when its time is up, and told so", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({}, {{.name = "stays", .start = {stay, born}, .shutdown = 20ms},
                            {.name = "brutal", .start = {stay, born}, .shutdown = mp::stop_policy::brutal()},
                            {.name = "patient", .start = {serve, born}, .shutdown = mp::stop_policy::infinite()}});
    for (int i = 0; i < 3; ++i) expect(born);
    const auto v = top.stop();
    CHECK(names(v.killed) == std::vector<std::string>{"stays"});
    CHECK(v.killed[0].status.signal() == SIGKILL);
    CHECK(names(v.ended) == std::vector<std::string>{"patient", "brutal"});
    CHECK(v.ended[1].status.signal() == SIGKILL);
    CHECK_FALSE(v.clean());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: children are added, terminated, started again and deleted at run time",
          "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    mp::supervisor top({});
    top.start_child({.name = "a", .start = {serve, born}});
    CHECK(expect(born).name == "a");
    CHECK_ERRC(top.start_child({.name = "a", .start = {serve, born}}), invalid_argument);
    CHECK_ERRC(top.start_child({.name = "b"}), invalid_argument);
    CHECK_ERRC(top.terminate_child("x"), no_such_child);
    CHECK_ERRC(top.restart_child("x"), no_such_child);
    CHECK_ERRC(top.delete_child("x"), no_such_child);
    CHECK_ERRC(top.address("x"), no_such_child);
    CHECK_ERRC(top.restart_child("a"), still_running);
    CHECK_ERRC(top.delete_child("a"), still_running);

    top.terminate_child("a");
    CHECK(info_of(top, "a").pid == 0);
    CHECK(top.count_children().active == 0);
    top.terminate_child("a");
    top.restart_child("a");
    CHECK(expect(born).name == "a");
    top.terminate_child("a");
    top.delete_child("a");
    CHECK(top.which_children().empty());
    top.start_child({.name = "t", .start = {serve, born}, .restart = restart::temporary});
    top.terminate_child("t");
    CHECK(top.which_children().empty());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: simple_one_for_one starts children of one pattern", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    event_book book;
    mp::supervisor top(plan(strategy::simple_one_for_one, book),
                       {{.name = "job", .restart = restart::transient, .shutdown = 10s}});
    CHECK(top.which_children().empty());
    for (int i = 0; i < 4; ++i) top.start_child({.start = {serve, born}});
    top.start_child({.name = "short", .start = {leave, born, 0}});
    pid_t victim = 0;
    for (int i = 0; i < 5; ++i)
      if (const sign s = expect(born); s.name != "short") victim = s.pid;
    REQUIRE(eventually([&] { return top.count_children().specs == 4; }));
    ::kill(victim, SIGKILL);
    expect(born);
    const auto v = top.stop();
    CHECK(v.clean());
    CHECK(v.ended.size() == 4);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: auto_shutdown ends it with its significant children", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    const auto one = [&](std::string name, int code) {
      return child_spec{
          .name = std::move(name), .start = {leave, born, code}, .restart = restart::temporary, .significant = true};
    };
    mp::supervisor any({.auto_shutdown = mp::auto_shutdown::any_significant},
                       {{.name = "server", .start = {serve, born}}, one("main", 5)});
    const auto v = any.join();
    CHECK(names(v.ended) == std::vector<std::string>{"server"});

    mp::supervisor all({.auto_shutdown = mp::auto_shutdown::all_significant}, {one("one", 0), one("two", 0)});
    CHECK(all.join_for(patience).has_value());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: a start that fails stops those before it, and leaves nothing", "[supervisor][process]") {
  const io_ledger ledger;
  {
    signs born;
    const auto open = born.sender();
    const child_spec good{.name = "good", .start = {serve, born}};
    const child_spec bad{.name = "bad", .start = {serve, born}, .options = {.working_directory = "/nowhere/at/all"}};
    CHECK_ERRC((mp::supervisor{{}, {good, bad}}), start_failed);
    CHECK_ERRC((mp::supervisor{{}, {good, good}}), invalid_argument);
    mp::supervisor top({}, {good});
    CHECK_ERRC(top.start_child(bad), start_failed);
    CHECK(top.which_children().size() == 1);
  }
  CHECK_CLEAN(ledger);
}
