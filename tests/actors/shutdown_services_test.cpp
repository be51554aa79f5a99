// Shutting down what runs for others: pools, the node, supervisors whose children hang before their hello. Each in a
// process of its own, so that the tests' own library lives on.

#include "mp/caf.hpp"
#include "mp/pool.hpp"
#include "mp/process.hpp"
#include "mp/shutdown.hpp"
#include "supervisor_support.hpp"

#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

// A program that hangs before its main does: where this names a file that exists, and then it says so beside it.
constexpr const char* hangs_if = "MP_TEST_HANGS_IF";
const bool hangs_early = [] {
  const char* const path = std::getenv(hangs_if);
  if (!path || ::access(path, F_OK) != 0) return false;
  ::close(::open((std::string(path) + ".hangs").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  for (;;) ::pause();
}();

/// A file that makes children hang once it is there.
class hang_switch {
public:
  hang_switch() : directory_("/tmp/mp-hang-XXXXXX") {
    REQUIRE(::mkdtemp(directory_.data()) != nullptr);
    path_ = directory_ + "/on";
  }
  hang_switch(const hang_switch&) = delete;
  hang_switch& operator=(const hang_switch&) = delete;
  ~hang_switch() { std::filesystem::remove_all(directory_); }

  void turn_on() const { ::close(::open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); }
  bool hangs() const { return ::access((path_ + ".hangs").c_str(), F_OK) == 0; }
  const std::string& path() const { return path_; }

private:
  std::string directory_, path_;
};

struct report {
  std::vector<std::string> ended{}, killed{}, leaked{};
  std::string later{};
};
report report_of(mp::verdict v) { return {names(v.ended), names(v.killed), v.leaked, {}}; }

int twice(int n) { return 2 * n; }

void use_pools(signs born, mp::queue<report> out) {
  mp::pool stays{{.workers = 1, .name = "stays"}};
  auto hung = stays.submit(stay, born);
  born.get();
  mp::pool good{{.workers = 2, .name = "good"}};
  static_cast<void>(good.map(twice, std::vector{1, 2, 3, 4}));
  const mp::verdict v = mp::shutdown(2s);
  report r = report_of(v);
  std::sort(r.ended.begin(), r.ended.end());
  for (const auto& d : v.killed) r.later += to_string(d.status) + "; ";
  const auto add = [&](std::optional<mp::errc> code) { r.later += code == mp::errc::shut_down ? "shut_down " : "? "; };
  add(errc_of([&] { mp::pool late{1}; }));
  add(errc_of([&] { mp::pool late{{.workers = 1, .name = "late"}}; }));
  r.later += errc_of([&] { return good.apply(twice, 1); }) == mp::errc::pool_closed ? "closed " : "? ";
  r.later += errc_of([&] { hung.get(); }) ? "failed" : "?";
  out.put(r);
}

caf::behavior echo() {
  return {[](int n) { return n; }};
}

void use_the_node(bool behavior_hangs, mp::queue<report> out) {
  const caf::actor isolated = mp::spawn_isolated(echo);
  bool answered = false;
  {
    caf::scoped_actor self{isolated->home_system()};
    self->request(isolated, long_patience, 7).receive([&](int n) { answered = n == 7; }, [](caf::error&) {});
    if (behavior_hangs) {
      std::promise<void> here;
      self->spawn([&here](caf::event_based_actor*) {
        here.set_value();
        for (;;) ::pause();
      });
      here.get_future().wait();
    }
  }
  report r = report_of(mp::shutdown(20s));
  r.later = answered ? "answered " : "? ";
  r.later += errc_of([&] { mp::detail::caf_node(); }) == mp::errc::shut_down ? "shut_down " : "? ";
  r.later += errc_of([&] { mp::spawn_isolated(echo); }) == mp::errc::shut_down ? "shut_down" : "?";
  out.put(r);
  mp::this_process::exit(0);  // a behavior that hangs must not hold this up, and handles outlive their system
}

const mp::restart_limits at_once{.intensity = 5, .period = 60s, .back_off = {.first = 1ms, .most = 1ms}};

mp::process_options hanging(const std::string& path) {
  return {.start_method = mp::start_method::spawn, .environment = {{hangs_if, path}}, .start_timeout = 1h};
}

// Tells when it is ready to be shut down, and is told when to.
void hang_at_a_restart(signs born, signs go, std::string path, mp::queue<report> out) {
  signs inner;
  mp::supervisor top({.restart = at_once}, {{.name = "well", .start = {serve, inner}},
                                            {.name = "hangs", .start = {serve, inner}, .options = hanging(path)}});
  inner.get(), inner.get();
  born.put({"ready", info_of(top, "hangs").pid});
  go.get();
  out.put(report_of(mp::shutdown(20s)));
}

void hang_at_the_first_start(signs born, signs go, std::string path, mp::queue<report> out) {
  std::promise<bool> was_closed;
  std::thread makes([&] {
    was_closed.set_value(
        errc_of([&] {
          mp::supervisor top({}, {{.name = "hangs", .start = {serve, born}, .options = hanging(path)}});
        }) == mp::errc::closed);
  });
  born.put({"ready", 0});
  go.get();
  report r = report_of(mp::shutdown(20s));
  r.later = was_closed.get_future().get() ? "closed" : "?";
  makes.join();
  out.put(r);
}

report run(auto function, auto... arguments) {
  mp::queue<report> out;
  mp::process subject(function, arguments..., out);
  subject.start();
  const auto got = out.get_for(long_patience);
  REQUIRE(got);
  CHECK(subject.join().success());
  return *got;
}

}  // namespace

TEST_CASE("shutdown: a pool's workers are in the verdict, the one that stays among the killed; later pools throw",
          "[shutdown][pool][process]") {
  const io_ledger ledger;
  {
    const report r = run(use_pools, signs());
    CHECK(r.ended == std::vector<std::string>{"good worker 1", "good worker 2"});
    CHECK(r.killed == std::vector<std::string>{"stays worker 1"});
    CHECK(r.leaked.empty());
    CHECK(r.later == "killed by SIGKILL; shut_down shut_down closed failed");
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown: the node ends with it, and a behavior that does not come back is told",
          "[shutdown][caf][process]") {
  const bool behavior_hangs = GENERATE(false, true);
  const io_ledger ledger;
  {
    const report r = run(use_the_node, behavior_hangs);
    CHECK(r.ended == std::vector<std::string>{"actor"});
    CHECK(r.killed.empty());
    CHECK(r.later == "answered shut_down shut_down");
    REQUIRE(r.leaked.size() == (behavior_hangs ? 1 : 0));
    if (behavior_hangs) CHECK_THAT(r.leaked[0], contains("a behavior did not come back"));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shutdown: is not held up by a child that hangs before its hello", "[shutdown][supervisor][process]") {
  const bool first = GENERATE(false, true);
  const io_ledger ledger;
  {
    const hang_switch hang;
    if (first) hang.turn_on();
    signs born, go;
    mp::queue<report> out;
    mp::process subject(first ? hang_at_the_first_start : hang_at_a_restart, born, go, hang.path(), out);
    subject.start();
    const sign ready = expect(born);
    if (!first) {
      hang.turn_on();
      ::kill(ready.pid, SIGKILL);
    }
    REQUIRE(eventually([&] { return hang.hangs(); }));
    go.put({});
    const auto got = out.get_for(long_patience);  // the start that hangs would take an hour
    if (!got) subject.kill();
    REQUIRE(got);
    CHECK(got->ended == (first ? std::vector<std::string>{} : std::vector<std::string>{"well"}));
    CHECK(got->killed.empty());
    CHECK(got->leaked.empty());
    CHECK(got->later == (first ? "closed" : ""));
    CHECK(subject.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: stop and destruction end a start that is under way, nested ones, too", "[supervisor][process]") {
  const bool nested = GENERATE(false, true), by_destructor = GENERATE(false, true);
  const io_ledger ledger;
  {
    const hang_switch hang;
    signs born;
    const auto open = born.sender();
    mp::child_spec child{.name = "hangs", .start = {serve, born}, .options = hanging(hang.path())};
    if (nested) child = {.name = "below", .supervise = {{.restart = {.intensity = 0}}, {std::move(child)}}};
    std::optional<mp::supervisor> top(std::in_place, mp::supervisor_options{.restart = at_once}, std::vector{child});
    const sign first = expect(born);
    hang.turn_on();
    ::kill(first.pid, SIGKILL);  // nested: the one below gives up, and is started again
    REQUIRE(eventually([&] { return hang.hangs(); }));
    auto ended = std::async(std::launch::async, [&] {
      mp::verdict v;
      if (!by_destructor) v = top->stop();
      top.reset();
      return v;
    });
    REQUIRE(ended.wait_for(patience) == std::future_status::ready);
    CHECK(ended.get().clean());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("supervisor: start_child of one that hangs throws closed when the supervisor is stopped",
          "[supervisor][process]") {
  const io_ledger ledger;
  {
    const hang_switch hang;
    hang.turn_on();
    signs born;
    mp::supervisor top({});
    auto added = std::async(std::launch::async, [&] {
      return errc_of([&] {
        top.start_child({.name = "hangs", .start = {serve, born}, .options = hanging(hang.path())});
      });
    });
    REQUIRE(eventually([&] { return hang.hangs(); }));
    CHECK(top.stop().clean());
    CHECK(added.get() == mp::errc::closed);
  }
  CHECK_CLEAN(ledger);
}
