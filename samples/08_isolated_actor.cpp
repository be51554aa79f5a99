// 08_isolated_actor: a CAF program runs an actor in a process of its own, watches it, and starts it again when it crashes.
//
// The behavior is an ordinary one of CAF's; `mp::spawn_isolated` instead of `spawn` is the whole difference. When it
// crashes, only its process dies; whoever monitors it gets a down_msg whose reason says how.

#include <caf/all.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <mp/caf.hpp>
#include <mp/mp.hpp>
#include <string>

using caf::behavior, caf::event_based_actor;

// Divides like a C program of the old days: it crashes where it should not.
behavior divider(event_based_actor*, int scale) {
  return {[=](int a, int b) {
    if (b == 0) std::abort();
    return scale * a / b;
  }};
}

// One write a line: the keeper and main speak from different threads.
void say(const std::string& line) { std::cout << line + "\n" << std::flush; }

behavior keeper(event_based_actor* self, int scale) {
  const auto isolated = mp::spawn_isolated(self->system(), divider, scale);
  self->monitor(isolated);
  self->set_down_handler([=](const caf::down_msg& down) {
    say("the divider was " + to_string(mp::exit_status_of(down.reason).value_or(mp::exit_status())) +
        "; a new one comes");
    self->become(keeper(self, scale));
  });
  return {[=](int a, int b) { return self->delegate(isolated, a, b); }};
}

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::shutdown_on({SIGINT, SIGTERM});  // Ctrl-C ends the actors' processes in order

  caf::actor_system_config config;
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  const auto divide = system.spawn(keeper, 100);
  const auto ask = [&](int a, int b) {
    bool answered = false;
    const std::string question = std::to_string(a) + " of " + std::to_string(b);
    self->request(divide, caf::infinite, a, b)
        .receive(
            [&](int percent) {
              say(question + " is " + std::to_string(percent) + " %");
              answered = true;
            },
            [&](const caf::error& e) {
              say(question + " has no answer: " +
                  (e == caf::sec::request_receiver_down ? "who was asked is down" : "something else"));
            });
    return answered;
  };
  ask(1, 4);
  ask(1, 0);
  while (!ask(3, 4)) {
  }  // until the new one is there
  self->send_exit(divide, caf::exit_reason::user_shutdown);
  self->wait_for(divide);
}
