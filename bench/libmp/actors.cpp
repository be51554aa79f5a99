// libmp: a question to another process's mailbox and back, and how long a supervisor takes to put a new child in the
// place of one that was killed.

#include <mp/init.hpp>
#include <mp/mailbox.hpp>
#include <mp/process.hpp>
#include <mp/queue.hpp>
#include <mp/supervisor.hpp>
#include <mp/this_process.hpp>

#include <csignal>

#include "../support/bench.hpp"
#include "../support/round_trip.hpp"

namespace {

using namespace bench;
using namespace std::chrono_literals;

void answer(bool thinks) {
  for (bool go = true; go;)
    mp::receive(
        [&](message m) {
          if (thinks) think_before_answer(m);
          return m;
        },
        [&](bool more) { go = more; });
}

template <class Measure>
double request(bool thinks, Measure measure) {
  mp::process p{answer, thinks};
  p.start();
  const mp::address to = p.address();
  const double p50 = measure([&](const message& m) { return to.request<message>(30s, m).get(); });
  to.send(false);
  check(p.join().success(), "the answering process");
  return p50;
}

void serve(mp::sender<pid_t> here) {
  here.put(mp::this_process::pid());
  mp::this_process::parent()->join();
}

double restart() {
  mp::queue<pid_t> started;
  mp::supervisor s({.restart = {.intensity = 100'000, .period = 1h, .back_off = {.first = 0ms, .most = 0ms}}},
                   {{.name = "served", .start = {serve, started.sender()}, .shutdown = mp::stop_policy::brutal()}});
  std::vector<double> samples;
  pid_t now = started.get();
  for (int i = 0; i < 300; ++i) {
    const auto before = clock::now();
    kill(now, SIGKILL);
    now = started.get();
    samples.push_back(micros(clock::now() - before));
  }
  return median(std::move(samples));
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"libmp", "libmp", "sleeps"};
  if (name == "mailbox-request")
    emit(name, me, "p50", request(false, [](auto trip) { return round_trip_awake(trip); }), "us");
  else if (name == "mailbox-request-asleep")
    emit(name, me, "p50", request(true, [](auto trip) { return round_trip_asleep(trip); }), "us");
  else if (name == "supervisor-restart")
    emit(name, me, "p50", restart(), "us");
  else
    return std::fprintf(stderr, "actors: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
