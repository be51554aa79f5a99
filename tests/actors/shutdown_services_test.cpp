// Shutting down what runs for others, in a process of its own, so that the tests' own library lives on; and stopping
// supervisors whose children hang before their hello.

#include "mp/process.hpp"
#include "mp/shutdown.hpp"
#include "supervisor_support.hpp"

#include <fcntl.h>
#include <sys/stat.h>
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
  out.put(report_of(mp::shutdown(300ms)));
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
  report r = report_of(mp::shutdown(300ms));
  r.later = was_closed.get_future().get() ? "closed" : "?";
  makes.join();
  out.put(r);
}

}  // namespace

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
    const auto got = out.get_for(patience);
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
