#pragma once
// What is measured of a pool of 2 workers: the same counts, sizes and loops for libmp, peers and limits.

#include "bench.hpp"
#include "round_trip.hpp"

#include <memory>

namespace bench {

inline constexpr int workers = 2;

/// Of `pool-map-chunk-1` and its small sister.
inline int tasks_of(std::string_view case_name) { return case_name.ends_with("-20k") ? 20'000 : 1'000'000; }

/// The median rate of `tasks` tasks that `run` runs; the first run warms up and does not count.
template <class Run>
double task_rate(int tasks, Run run) {
  std::vector<double> rates;
  for (int round = 0; round < 6; ++round) {
    const auto start = clock::now();
    run();
    if (round > 0) rates.push_back(tasks / seconds(clock::now() - start));
  }
  return median(std::move(rates));
}

// 64 tasks that take 8 MiB of doubles and give as many back.
inline constexpr int large_tasks = 64;
inline constexpr std::size_t large_doubles = std::size_t{1} << 20;
inline constexpr std::size_t large_bytes = large_doubles * sizeof(double);

inline void scale(double* values) {
  for (std::size_t i = 0; i < large_doubles; ++i) values[i] *= 2;
  asm volatile("" : : "r"(values) : "memory");
}
inline void check_scaled(const double* from, const double* to) {
  if (from[1] * 2 == to[1] && from[large_doubles - 1] * 2 == to[large_doubles - 1]) return;
  std::fprintf(stderr, "a task gave back something else\n");
  std::_Exit(2);
}

/// Memory for one result that nobody has touched.
inline std::unique_ptr<double[]> fresh_result() { return std::make_unique_for_overwrite<double[]>(large_doubles); }

}  // namespace bench
