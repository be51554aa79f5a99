// Limits of a round trip of 64 bytes: a slot in shared memory each way, and the cheapest way to say "look now":
// spinning on it, or an eventfd to sleep on. It must do nothing that a channel needs besides.

#include <sys/eventfd.h>

#include "../support/bench.hpp"
#include "../support/round_trip.hpp"

namespace {

using namespace bench;

struct slot {
  alignas(128) std::atomic<std::uint64_t> sequence{0};  // in the line of the payload: one line moves each way
  message body;
};
struct both_ways {
  slot there, back;
};

/// Spins; the message lies next to its number.
struct spinning {
  both_ways* m = shared<both_ways>();
  static void put(slot& s, std::uint64_t n, const message& b) {
    s.body = b;
    s.sequence.store(n, std::memory_order_release);
  }
  static message get(const slot& s, std::uint64_t n) {
    while (s.sequence.load(std::memory_order_acquire) != n) pause_cpu();
    return s.body;
  }
};

/// Sleeps on an eventfd, always.
struct sleeping {
  both_ways* m = shared<both_ways>();
  int there = eventfd(0, EFD_CLOEXEC), back = eventfd(0, EFD_CLOEXEC);
  static void put(slot& s, int bell, const message& b) {
    s.body = b;
    const std::uint64_t one = 1;
    check(write(bell, &one, sizeof one) == sizeof one, "write");
  }
  static message get(const slot& s, int bell) {
    std::uint64_t rings = 0;
    check(read(bell, &rings, sizeof rings) == sizeof rings, "read");
    return s.body;
  }
};

double awake() {
  const spinning limit;
  const child echo([&] {
    for (std::uint64_t n = 1;; ++n) spinning::put(limit.m->back, n, spinning::get(limit.m->there, n));
  });
  std::uint64_t n = 0;
  return round_trip_awake([&](const message& b) {
    ++n;
    spinning::put(limit.m->there, n, b);
    return spinning::get(limit.m->back, n);
  });
}

template <class Measure>
double asleep(bool answer_late, Measure measure) {
  const sleeping limit;
  const child echo([&] {
    for (;;) {
      auto m = sleeping::get(limit.m->there, limit.there);
      if (answer_late) think_before_answer(m);
      sleeping::put(limit.m->back, limit.back, m);
    }
  });
  return measure([&](const message& b) {
    sleeping::put(limit.m->there, limit.there, b);
    return sleeping::get(limit.m->back, limit.back);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity bell{"eventfd + shared slot", "limit", "sleeps"};
  if (name == "rtt-awake")
    emit(name, {"shared slot", "limit", "spins"}, "p50", awake(), "us");
  else if (name == "rtt-asleep")
    emit(name, bell, "p50", asleep(true, [](auto trip) { return round_trip_asleep(trip); }), "us");
  else if (name == "rtt-one-core")
    emit(name, bell, "p50", asleep(false, [](auto trip) { return round_trip_one_core(trip); }), "us");
  else
    return std::fprintf(stderr, "round_trip: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
