#pragma once
// The three ways a round trip is timed; the same for limits, peers and libmp. `trip` sends a message and gives back
// what came for it.

#include "bench.hpp"

namespace bench {

inline constexpr int trips_per_look = 32;  // at the clock, where a trip takes 0.1 us

inline void check_answer(const message& sent, const message& got) {
  if (sent.words[0] == got.words[0]) return;
  std::fprintf(stderr, "a round trip brought back another message\n");
  std::_Exit(2);
}

/// Nobody waits longer than a trip takes.
template <class Trip>
double round_trip_awake(Trip trip) {
  message m{};
  return median_time(
      [&] {
        fill(m, m.words[0] + 1);
        check_answer(m, trip(m));
      },
      trips_per_look, 20000, window);
}

/// Both processes on one processor: whoever waits has to let the other run.
template <class Trip>
double round_trip_one_core(Trip trip) {
  message m{};
  return median_time(
      [&] {
        fill(m, m.words[0] + 1);
        check_answer(m, trip(m));
      },
      1, 200, window);
}

/// Each side has slept when its message comes: the asking side thinks before it asks, the answering side before it
/// answers. The answering side's thinking, by the clock both share, is taken off: two wake-ups are left.
inline void think_before_answer(message& m) {
  const auto got = clock::now();
  think(think_time);
  m.words[6] = static_cast<std::uint64_t>((clock::now() - got).count());
}
template <class Trip>
double round_trip_asleep(Trip trip) {
  std::vector<double> samples;
  message m{};
  const auto end = clock::now() + warm_up + 2 * window;
  const auto measured = clock::now() + warm_up;
  for (;;) {
    think(think_time);
    fill(m, m.words[0] + 1);
    const auto before = clock::now();
    const auto answer = trip(m);
    const auto after = clock::now();
    check_answer(m, answer);
    if (before > measured)
      samples.push_back(micros(after - before - clock::duration(static_cast<clock::rep>(answer.words[6]))));
    if (after > end) return median(std::move(samples));
  }
}

}  // namespace bench
