// libmp: a round trip of 64 bytes over two pipes.

#include "../support/round_trip.hpp"

#include <mp/init.hpp>
#include <mp/pipe.hpp>
#include <mp/process.hpp>

#include "../support/bench.hpp"

namespace {

using namespace bench;

void echo(mp::receiver<message> in, mp::sender<message> out) {
  for (const auto& m : in) out.put(m);
}
void echo_late(mp::receiver<message> in, mp::sender<message> out) {
  for (auto&& m : in) {
    think_before_answer(m);
    out.put(m);
  }
}

template <class Answer, class Measure>
double measure(Answer answer, Measure measure_trip) {
  auto there = mp::pipe<message>();
  auto back = mp::pipe<message>();
  mp::process p{answer, std::move(there.receiver), std::move(back.sender)};
  p.start();
  const auto result = measure_trip([&](const message& m) {
    there.sender.put(m);
    return back.receiver.get();
  });
  there.sender.close();
  check(p.join().success(), "the echo failed");
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"libmp", "libmp", "sleeps"};
  if (name == "rtt-awake")
    emit(name, me, "p50", measure(echo, [](auto trip) { return round_trip_awake(trip); }), "us");
  else if (name == "rtt-asleep")
    emit(name, me, "p50", measure(echo_late, [](auto trip) { return round_trip_asleep(trip); }), "us");
  else if (name == "rtt-one-core")
    emit(name, me, "p50", measure(echo, [](auto trip) { return round_trip_one_core(trip); }), "us");
  else
    return std::fprintf(stderr, "round_trip: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
