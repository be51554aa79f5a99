// Processes as CAF actors: messages both ways, requests, deaths seen by monitors and links, isolated behaviors.

#include "mp/caf.hpp"
#include "mp/mailbox.hpp"
#include "supervisor_support.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/sec.hpp>
#include <caf/send.hpp>
#include <caf/system_messages.hpp>

#include <string>
#include <vector>

namespace {
struct parcel {
  int weight = 0;
  std::string label{};
};
struct unspoken {
  int x = 0;
};
}  // namespace
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parcel)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(unspoken)

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

const std::chrono::seconds limit = long_patience;

struct system_of_two {
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  system_of_two() {
    config.set("scheduler.max-threads", std::size_t{2});
    system = std::make_unique<caf::actor_system>(config);
  }
  operator caf::actor_system&() { return *system; }
};

void serve_plain() {
  for (bool go = true; go;)
    mp::receive(
        [](int a, int b) { return a + b; },
        [](parcel p) {
          return parcel{p.weight + 1, p.label + "!"};
        },
        [](const std::vector<double>& v) { return v.size() == 3 ? std::string("three") : std::string("other"); },
        [](double) -> int { throw std::runtime_error("not today"); }, [](char) { ::raise(SIGSEGV); },
        [](std::int64_t) { ::kill(::getpid(), SIGKILL); }, [&](const std::string&) { go = false; });
}

caf::behavior adder(caf::event_based_actor* self, int base) {
  return {[=](int n) { return base + n; },
          [=](const std::string& how) {
            if (how == "abort") std::abort();
            if (how == "fail") self->quit(caf::sec::runtime_error);
            if (how == "quit") self->quit();
            return how;
          },
          [](parcel p) {
            return parcel{2 * p.weight, p.label};
          },
          [](double) -> caf::result<int> { return caf::make_error(caf::sec::invalid_argument, "negative"); },
          [](caf::atom_value) { return mp::this_process::pid(); }};
}

class counter : public caf::event_based_actor {
public:
  counter(caf::actor_config& config, int from) : caf::event_based_actor(config), now_(from) {}
  caf::behavior make_behavior() override {
    return {[this](int step) { return now_ += step; }};
  }

private:
  int now_;
};

/// What a request gives: a value, or an error.
template <class R, class... V>
std::pair<std::optional<R>, caf::error> ask(caf::scoped_actor& self, const caf::actor& whom, V... values) {
  std::pair<std::optional<R>, caf::error> got;
  self->request(whom, limit, std::move(values)...)
      .receive([&](R r) { got.first = std::move(r); }, [&](caf::error& e) { got.second = std::move(e); });
  return got;
}

/// Our own mailbox and the queue of answers stay: they are there before we count.
void warm_up_face(caf::actor_system& system) {
  caf::scoped_actor self{system};
  mp::process server(serve_plain);
  server.start();
  REQUIRE(ask<int>(self, mp::as_actor(system, server.address()), 1, 2).first == 3);
  server.send("stop");
  server.join();
}

caf::error wait_down(caf::scoped_actor& self) {
  caf::error reason;
  bool came = false;
  self->receive([&](const caf::down_msg& d) { reason = d.reason, came = true; }, caf::after(limit) >> [] {});
  REQUIRE(came);
  return reason;
}

}  // namespace

TEST_CASE("caf: a mailbox as an actor answers requests, with spoken types and errors", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    mp::process server(serve_plain);
    server.start();
    const auto face = mp::as_actor(system, server.address(), mp::speaks<parcel>{});
    CHECK(ask<int>(self, face, 20, 22).first == 42);
    CHECK(ask<std::string>(self, face, std::vector<double>{1, 2, 3.5}).first == "three");
    const auto back = ask<parcel>(self, face, parcel{1, "x"}).first;
    REQUIRE(back);
    CHECK(back->weight == 2);
    CHECK(back->label == "x!");
    const auto threw = ask<int>(self, face, 1.5).second;
    CHECK(threw == caf::sec::runtime_error);
    CHECK(caf::to_string(threw.context()).find("not today") != std::string::npos);
    const auto dumb = ask<int>(self, face, unspoken{1}).second;
    CHECK(dumb.code() == static_cast<std::uint8_t>(mp::errc::unencodable));
    caf::anon_send(face, "stop");
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: a monitor hears how the process died, and open requests fail", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    mp::process server(serve_plain);
    server.start();
    const auto face = mp::as_actor(system, server.address());
    self->monitor(face);
    SECTION("by a crash") {
      server.send('c');
      const auto open = ask<int>(self, face, 1, 2);
      CHECK(open.second == caf::sec::request_receiver_down);
      const auto reason = wait_down(self);
      CHECK(mp::exit_status_of(reason)->signal() == SIGSEGV);
      CHECK(ask<int>(self, face, 1, 2).second == caf::sec::request_receiver_down);
    }
    SECTION("by kill") {
      server.kill();
      CHECK(mp::exit_status_of(wait_down(self))->signal() == SIGKILL);
    }
    SECTION("in order") {
      caf::anon_send(face, "stop");
      CHECK(mp::exit_status_of(wait_down(self))->success());
    }
    server.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: exit_status_of tells statuses from other reasons", "[caf][unit]") {
  CHECK(mp::exit_status_of(caf::error()) == mp::exit_status::exited(0));
  CHECK_FALSE(mp::exit_status_of(caf::sec::runtime_error));
  CHECK_FALSE(mp::exit_status_of(caf::exit_reason::kill));
}

TEST_CASE("caf: an isolated function-based behavior runs in a process of its own", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    const auto isolated = mp::spawn_isolated(system, mp::speaks<parcel>{}, adder, 100);
    CHECK(ask<int>(self, isolated, 5).first == 105);
    CHECK(ask<parcel>(self, isolated, parcel{21, "p"}).first->weight == 42);
    const auto refused = ask<int>(self, isolated, 1.0).second;
    CHECK(refused == caf::sec::invalid_argument);
    const auto pid = ask<int>(self, isolated, caf::atom("pid")).first;
    REQUIRE(pid);
    CHECK(*pid != ::getpid());
    const auto unfit = ask<int>(self, isolated, std::vector<int>{1}).second;
    CHECK(unfit == caf::sec::unexpected_message);

    self->monitor(isolated);
    caf::anon_send(isolated, "abort");
    CHECK(mp::exit_status_of(wait_down(self))->signal() == SIGABRT);
    CHECK(ask<int>(self, isolated, 5).second == caf::sec::request_receiver_down);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: an isolated actor's end is its process's end, and the other way round", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    const auto quits = mp::spawn_isolated(system, adder, 1), fails = mp::spawn_isolated(system, adder, 1),
               told = mp::spawn_isolated(system, adder, 1), killed = mp::spawn_isolated(system, adder, 1);
    self->monitor(quits);
    caf::anon_send(quits, "quit");
    CHECK(mp::exit_status_of(wait_down(self))->success());
    self->monitor(fails);
    caf::anon_send(fails, "fail");
    CHECK(mp::exit_status_of(wait_down(self))->code() == 1);
    self->monitor(told);
    caf::anon_send_exit(told, caf::exit_reason::user_shutdown);
    CHECK(mp::exit_status_of(wait_down(self))->success());
    self->monitor(killed);
    caf::anon_send_exit(killed, caf::exit_reason::kill);
    CHECK(mp::exit_status_of(wait_down(self))->signal() == SIGKILL);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: the last handle of an isolated actor ends its process", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    auto isolated = mp::spawn_isolated(system, adder, 1);
    const auto pid = ask<int>(self, isolated, caf::atom("pid")).first;
    REQUIRE(pid);
    isolated = nullptr;
    CHECK(eventually([&] { return ::kill(*pid, 0) != 0; }));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: a linked actor ends with the process", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    const auto isolated = mp::spawn_isolated(system, adder, 1);
    const auto linked = system.system->spawn([=](caf::event_based_actor* me) -> caf::behavior {
      me->link_to(isolated);
      return {[](int n) { return n; }};
    });
    CHECK(ask<int>(self, linked, 3).first == 3);
    self->monitor(linked);
    caf::anon_send(isolated, "abort");
    CHECK(mp::exit_status_of(wait_down(self))->signal() == SIGABRT);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: class-based and lambda behaviors, other systems, plain requests", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    const auto counts = mp::spawn_isolated<counter>(system, 10);
    CHECK(ask<int>(self, counts, 5).first == 15);
    CHECK(ask<int>(self, counts, 5).first == 20);

    const auto greets = mp::spawn_isolated(
        system,
        [](caf::event_based_actor*, const std::string& word) -> caf::behavior {
          return {[=](const std::string& name) { return word + ", " + name; }};
        },
        "hello");
    CHECK(ask<std::string>(self, greets, std::string("you")).first == "hello, you");
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: the library's own system serves where none is given", "[caf][process]") {
  warm_up_face(mp::detail::caf_node());  // it stays
  const fd_ledger ledger(true);
  {
    const auto isolated = mp::spawn_isolated(adder, 7);
    caf::scoped_actor self{isolated->home_system()};
    CHECK(ask<int>(self, isolated, 1).first == 8);
  }
  CHECK_CLEAN(ledger);
}
