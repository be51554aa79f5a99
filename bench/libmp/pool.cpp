// libmp: a pool of 2 workers and tasks that do nothing: what the library itself costs.

#include <mp/init.hpp>
#include <mp/pool.hpp>
#include <mp/queue.hpp>

#include <malloc.h>
#include <csignal>
#include <ranges>
#include <vector>

#include "../support/bench.hpp"
#include "../support/vectors.hpp"

namespace {

using namespace bench;

constexpr int many = 1'000'000;

int same(int x) { return x; }
int die(mp::queue<std::int64_t> when) {
  when.put(clock::now().time_since_epoch().count());
  std::raise(SIGKILL);
  return 0;
}
std::vector<double> doubled(const std::vector<double>& in) {
  std::vector<double> out(in.size());
  scale(in, out);
  return out;
}

int wait_for(mp::queue<int> open, int x) {
  open.get();
  return x;
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
  } else if (name == "pool-memory") {
    // Both workers are busy until all are queued.
    mp::queue<int> open;
    std::vector<mp::future<int>> busy, queued;
    for (int i = 0; i < 2; ++i) busy.push_back(pool.submit(wait_for, open, i));
    queued.reserve(many);
    const auto before = mallinfo2();
    for (int i = 0; i < many; ++i) queued.push_back(pool.submit(same, i));
    const auto after = mallinfo2();
    const auto used = [](const struct mallinfo2& m) { return static_cast<double>(m.uordblks + m.hblkhd); };
    emit(name, me, "memory", (used(after) - used(before)) / many, "bytes");
    for (int i = 0; i < 2; ++i) open.put(i);
    for (auto& one : queued) one.get();
  } else if (name == "pool-death") {
    std::vector<double> samples;
    mp::queue<std::int64_t> when;
    for (int i = 0; i < 200; ++i) {
      // Both workers are there and have nothing to do, and so have those who start them.
      do think(think_time);
      while (pool.stats().workers.size() != 2 || pool.stats().running != 0);
      for (int k = 0; k < 8; ++k) pool.submit(same, k).get();
      think(10 * think_time);
      try {
        pool.submit(die, when).get();
      } catch (const mp::worker_died&) {
        samples.push_back(micros(clock::now().time_since_epoch() - clock::duration(when.get())));
      }
    }
    std::sort(samples.begin(), samples.end());
    emit(name, me, "p50", samples[samples.size() / 2], "us");
    emit(name, me, "p99", samples[samples.size() * 99 / 100], "us");
  } else if (name == "pool-vectors") {
    const std::vector<double> task(vector_length, 1.5);
    const auto in = std::views::iota(0, vector_tasks) | std::views::transform([&](int) -> auto& { return task; });
    std::vector<double> rates, one_by_one;
    for (int round = 0; round < vector_rounds; ++round) {
      auto start = clock::now();
      const auto out = pool.map(doubled, in, {.chunk = 1});
      rates.push_back(vector_tasks / seconds(clock::now() - start));
      for (const auto& r : out) consume(r.data(), r.size() * sizeof(double));
      start = clock::now();
      for (const auto& r : pool.imap(doubled, in, {.chunk = 1})) consume(r.data(), r.size() * sizeof(double));
      one_by_one.push_back(vector_tasks / seconds(clock::now() - start));
    }
    emit(name, me, "rate", median(std::move(rates)), "task/s");
    emit(name, me, "one by one", median(std::move(one_by_one)), "task/s");
  } else {
    return std::fprintf(stderr, "pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
