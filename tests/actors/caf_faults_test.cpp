// Actors that stand for processes, where something is in the way: somebody else's put, a letter that nobody can read, no
// descriptor for a moment.

#include "mp/caf.hpp"
#include "mp/mailbox.hpp"
#include "os/proc.hpp"
#include "process/mailbox_state.hpp"
#include "supervisor_support.hpp"
#include "support/held_lock.hpp"
#include "support/sanitizers.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <sys/resource.h>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
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

/// Where a child of ours receives.
mp::address address_of(pid_t pid) {
  return mp::detail::address_access::make(mp::detail::known_address(pid, mp::os::start_time_of(pid)));
}
mp::detail::channel& mailbox_of(const mp::address& a) { return *mp::detail::address_access::state(a)->to().shared(); }

/// How often the I/O thread of a process went to sleep.
long sleeps_of_io_thread(pid_t pid) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::string name, word;
    std::ifstream(task.path() / "comm") >> name;
    if (name != "mp-io") continue;
    std::ifstream status(task.path() / "status");
    while (status >> word)
      if (long n = 0; word == "voluntary_ctxt_switches:" && status >> n) return n;
  }
  return -1;
}

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

TEST_CASE("caf: an isolated actor hears on after a letter that nobody can read", "[caf][process]") {
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    const auto isolated = mp::spawn_isolated(system, adder, 100);
    CHECK(ask(self, isolated, 5) == 105);
    const mp::address to = address_of(ask(self, isolated, caf::atom("pid")));
    const std::array<std::byte, 5> garbage{};
    mp::detail::outgoing letter;
    letter.size = garbage.size();
    letter.bytes = garbage;
    for (int i = 0; i < 3; ++i)
      REQUIRE(mailbox_of(to).put(mp::detail::role::sender, letter, mp::time_point::max()) == mp::detail::op_status::ok);
    CHECK(ask(self, isolated, 6) == 106);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("caf: an isolated actor that had no descriptor for a letter gets it when it has one", "[caf][process]") {
  if (mp_test::address_sanitizer) {
    std::puts("skipped: an isolated actor without a descriptor: the sanitizer needs descriptors of its own");
    return;
  }
  system_of_two system;
  warm_up_face(system);
  const fd_ledger ledger(true);
  {
    caf::scoped_actor self{system};
    const auto isolated = mp::spawn_isolated(system, adder, 100);
    const pid_t pid = ask(self, isolated, caf::atom("pid"));
    const mp::address to = address_of(pid);
    rlimit before{};
    REQUIRE(::prlimit(pid, RLIMIT_NOFILE, nullptr, &before) == 0);
    const rlimit none{3, before.rlim_max};
    REQUIRE(::prlimit(pid, RLIMIT_NOFILE, &none, nullptr) == 0);
    mp::queue<int> answer;
    // The first letter of a stranger brings descriptors: where it can be reached.
    mp::process stranger(
        [](mp::address whom, mp::queue<int> out) {
          out.put(whom.request<int>(mp::duration::forever(), 7).get());
          mp::receive([](bool) {});
        },
        to, answer);
    stranger.start();
    REQUIRE(eventually([&] { return mailbox_of(to).size() == 1; }));
    // From here on it wakes up only to try again.
    const long sleeps = sleeps_of_io_thread(pid);
    REQUIRE(eventually([&] { return sleeps_of_io_thread(pid) >= sleeps + 2; }));
    CHECK(mailbox_of(to).size() == 1);
    REQUIRE(::prlimit(pid, RLIMIT_NOFILE, &before, nullptr) == 0);
    CHECK(answer.get_for(patience) == 107);
    stranger.send(true);
    CHECK(stranger.join().success());
  }
  CHECK_CLEAN(ledger);
}
