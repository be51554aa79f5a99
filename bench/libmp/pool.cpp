// libmp: a pool of 2 workers and tasks that do nothing: what the library itself costs.

#include <mp/init.hpp>
#include <mp/pool.hpp>

#include <csignal>

#include "../support/bench.hpp"

namespace {

using namespace bench;

constexpr int many = 1'000'000;

int same(int x) { return x; }
int die(int) {
  std::raise(SIGKILL);
  return 0;
}

// The best of a few: the first also measures the function.
double map_rate(mp::pool& pool, const mp::map_options& options) {
  std::vector<int> in(many);
  for (int i = 0; i < many; ++i) in[static_cast<std::size_t>(i)] = i;
  std::vector<double> rates;
  for (int round = 0; round < 5; ++round) {
    const auto start = clock::now();
    const auto out = pool.map(same, in, options);
    rates.push_back(many / seconds(clock::now() - start));
    if (out != in) std::fprintf(stderr, "pool: wrong results\n");
  }
  return median(rates);
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"libmp", "libmp", "sleeps"};
  mp::pool pool(2);
  if (name == "pool-map-chunk-1") {
    emit(name, me, "rate", map_rate(pool, {.chunk = 1}), "task/s");
  } else if (name == "pool-map") {
    emit(name, me, "rate", map_rate(pool, {}), "task/s");
  } else if (name == "pool-submit") {
    emit(name, me, "p50", median_time([&] { pool.submit(same, 1).get(); }, 1, 200, std::chrono::milliseconds(400)),
         "us");
  } else if (name == "pool-submit-asleep") {
    // The worker sleeps when the task comes; the caller waits without anything else to do.
    std::vector<double> samples;
    for (int i = 0; i < 400; ++i) {
      think(think_time);
      const auto before = clock::now();
      pool.submit(same, 1).get();
      samples.push_back(micros(clock::now() - before));
    }
    emit(name, me, "p50", median(std::move(samples)), "us");
  } else if (name == "pool-death") {
    std::vector<double> samples;
    for (int i = 0; i < 50; ++i) {
      const auto before = clock::now();
      try {
        pool.submit(die, 1).get();
      } catch (const mp::worker_died&) {
      }
      samples.push_back(micros(clock::now() - before));
    }
    emit(name, me, "p50", median(std::move(samples)), "us");
  } else {
    return std::fprintf(stderr, "pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
