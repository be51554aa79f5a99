// Actors that stand for processes, where something is in the way.

#include "mp/caf.hpp"
#include "mp/mailbox.hpp"
#include "process/mailbox_state.hpp"
#include "supervisor_support.hpp"
#include "support/held_lock.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <string>

using namespace mp_test;

namespace {

struct system_of_two {
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  system_of_two() {
    config.set("scheduler.max-threads", std::size_t{2});
    system = std::make_unique<caf::actor_system>(config);
  }
  operator caf::actor_system&() { return *system; }
};

caf::behavior adder(caf::event_based_actor*, int base) {
  return {[=](int n) { return base + n; }, [](caf::atom_value) { return mp::this_process::pid(); }};
}

void pass_on(mp::queue<int> out) {
  for (bool go = true; go;) mp::receive([&](int n) { out.put(n); }, [&](bool) { go = false; });
}

int ask(caf::scoped_actor& self, const caf::actor& whom, auto value) {
  int got = 0;
  self->request(whom, patience, value).receive([&](int n) { got = n; }, [](caf::error&) {});
  return got;
}

/// The node, our mailbox and the queue of answers stay: they are there before we count.
void warm_up_face(caf::actor_system& system) {
  caf::scoped_actor self{system};
  REQUIRE(ask(self, mp::spawn_isolated(system, adder, 1), 1) == 2);
}

mp::detail::channel& mailbox_of(const mp::address& a) { return *mp::detail::address_access::state(a)->to().shared(); }

}  // namespace

TEST_CASE("caf: what is sent while another one's put is in the way arrives after it, in order", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    mp::queue<int> out;
    mp::process child(pass_on, out);
    child.start();
    const auto face = mp::as_actor(system, child.address());
    caf::anon_send(face, 0);
    CHECK(out.get_for(patience) == 0);
    held_put_lock lock(mailbox_of(child.address()).shared_from_this());
    for (int n = 1; n <= 3; ++n) caf::anon_send(face, n);
    CHECK(lock.is_wanted());
    lock.release();
    for (int n = 4; n <= 5; ++n) caf::anon_send(face, n);
    for (int n = 1; n <= 5; ++n) CHECK(out.get_for(patience) == n);
    caf::anon_send(face, true);
    CHECK(child.join().success());
  }
  CHECK_CLEAN(ledger);
}
