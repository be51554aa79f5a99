// 08_isolated_actor: a CAF program runs an actor in a process of its own, watches it, and starts it again when it crashes.
//
// The behavior is an ordinary one of CAF's; `mp::spawn_isolated` instead of `spawn` is the whole difference. When it
// crashes, only its process dies; whoever monitors it gets a down_msg whose reason says how.

#include <caf/all.hpp>
#include <cstdlib>
#include <iostream>
#include <mp/caf.hpp>
#include <mp/mp.hpp>

using caf::behavior, caf::event_based_actor;

// Divides like a C program of the old days: it crashes where it should not.
behavior divider(event_based_actor*, int scale) {
  return {[=](int a, int b) {
    if (b == 0) std::abort();
    return scale * a / b;
  }};
}

behavior keeper(event_based_actor* self, int scale) {
  const auto isolated = mp::spawn_isolated(self->system(), divider, scale);
  self->monitor(isolated);
  self->set_down_handler([=](const caf::down_msg& down) {
    std::cout << "the divider was " << mp::exit_status_of(down.reason).value_or(mp::exit_status())
              << "; a new one comes\n";
    self->become(keeper(self, scale));
  });
  return {[=](int a, int b) { return self->delegate(isolated, a, b); }};
}

int main(int argc, char** argv) {
  mp::init(argc, argv);

  caf::actor_system_config config;
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  const auto divide = system.spawn(keeper, 100);
  const auto ask = [&](int a, int b) {
    self->request(divide, caf::infinite, a, b)
        .receive([&](int percent) { std::cout << a << " of " << b << " is " << percent << " %\n"; },
                 [&](const caf::error& e) {
                   std::cout << a << " of " << b << " has no answer: "
                             << (e == caf::sec::request_receiver_down ? "who was asked is down" : "something else")
                             << '\n';
                 });
  };
  ask(1, 4);
  ask(1, 0);
  ask(3, 4);
  self->send_exit(divide, caf::exit_reason::user_shutdown);
  self->wait_for(divide);
}
