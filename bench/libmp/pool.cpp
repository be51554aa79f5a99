// libmp: a pool of 2 workers and tasks that do nothing: what the library itself costs.

#include <mp/init.hpp>
#include <mp/pool.hpp>
#include <mp/queue.hpp>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <ranges>

#include "../support/footprint.hpp"
#include "../support/pool.hpp"

namespace {

using namespace bench;

const identity me{"libmp", "libmp", "sleeps"};

int same(int x) { return x; }
message think_first(message m) {
  think_before_answer(m);
  return m;
}
int die(mp::queue<std::int64_t> when) {
  when.put(clock::now().time_since_epoch().count());
  std::raise(SIGKILL);
  return 0;
}
int stay(int) {
  for (;;) pause();
}
std::vector<double> scaled(std::vector<double> v) {
  scale(v.data());
  return v;
}

std::span<double> scaled_there(std::span<double> v) {
  scale(v.data());
  return v;
}

double map_rate(mp::pool& pool, int tasks, const mp::map_options& options) {
  std::vector<int> in(static_cast<std::size_t>(tasks));
  std::iota(in.begin(), in.end(), 0);
  return task_rate(tasks, [&] {
    if (pool.map(same, in, options) != in) check(false, "wrong results");
  });
}

/// One input for all tasks, as the peers have it.
void large_values(std::string_view name, mp::pool& pool) {
  const std::vector<double> in(large_doubles, 1.5);
  const auto tasks =
      std::views::iota(0, large_tasks) | std::views::transform([&](int) -> const std::vector<double>& { return in; });
  const double kept = task_rate(large_tasks, [&] {
    const auto out = pool.map(scaled, tasks);
    for (const auto& v : out) check_scaled(in.data(), v.data());
  });
  const auto one_by_one = [&](auto task) {
    return task_rate(large_tasks, [&] {
      for (const auto& v : pool.imap(task, tasks)) consume(v.data(), large_bytes);
    });
  };
  emit(name, me, "vectors", kept, "task/s");
  emit(name, me, "reused", one_by_one(scaled_there), "task/s");
  emit(name, {"libmp, vectors one by one", "means", "sleeps"}, "reused", one_by_one(scaled), "task/s");
}

/// From the kill until the caller knows. Both workers are there and idle before, and so are those who start them.
void deaths(std::string_view name, mp::pool& pool) {
  std::vector<double> samples;
  mp::queue<std::int64_t> when;
  for (int i = 0; i < 300; ++i) {
    do think(think_time);
    while (pool.stats().workers.size() != workers || pool.stats().running != 0);
    for (int k = 0; k < 8; ++k) pool.submit(same, k).get();
    think(10 * think_time);
    try {
      pool.submit(die, when).get();
    } catch (const mp::worker_died&) {
      samples.push_back(micros(clock::now().time_since_epoch() - clock::duration(when.get())));
    }
  }
  check(samples.size() == 300, "a death that nobody told");
  std::sort(samples.begin(), samples.end());
  emit(name, me, "p50", samples[150], "us");
  emit(name, me, "p99", samples[297], "us");
}

/// Bytes that a task costs beyond its encoded argument while it waits behind others: with its future, and as an item of
/// a map.
void queued(std::string_view name, mp::pool& pool) {
  constexpr int many = 1'000'000;
  auto busy_one = pool.submit(stay, 0), busy_two = pool.submit(stay, 0);
  std::vector<mp::future<int>> futures;
  futures.reserve(many + 1000);
  for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit(same, i));
  const auto before = footprint::now();
  for (int i = 0; i < many; ++i) futures.push_back(pool.submit(same, i));
  const auto submitted = footprint::now();
  auto all = pool.map_async(same, std::views::iota(0, many));
  const auto mapped = footprint::now();
  const auto each = [](const footprint& from, const footprint& to) {
    return (to.resident - from.resident) * 1024 / many - double{sizeof(int)};
  };
  emit(name, me, "submit", each(before, submitted), "B");
  emit(name, me, "map_async", each(submitted, mapped), "B");
  pool.terminate();
}

/// How much more memory is used while 10^8 numbers go through than after the first million.
void imap(std::string_view name, mp::pool& pool) {
  constexpr int many = 100'000'000, step = 1'000'000;
  double first = 0, most = 0;
  int n = 0;
  for (const int v : pool.imap(same, std::views::iota(0, many))) {
    if (v != n++) check(false, "wrong results");
    if (n % step != 0) continue;
    const double now = footprint::now().resident;
    if (n == step) first = now;
    most = std::max(most, now);
  }
  check(n == many, "lost results");
  emit(name, me, "growth", most - first, "KiB");
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  mp::pool pool(workers);
  if (name.starts_with("pool-map-chunk-1"))
    emit(name, me, "rate", map_rate(pool, tasks_of(name), {.chunk = 1}), "task/s");
  else if (name == "pool-map")
    emit(name, me, "rate", map_rate(pool, tasks_of(name), {}), "task/s");
  else if (name == "pool-submit")
    emit(name, me, "p50", median_time([&] { pool.submit(same, 1).get(); }, 1, 200, window), "us");
  else if (name == "pool-submit-asleep")
    emit(name, me, "p50", round_trip_asleep([&](const message& m) { return pool.submit(think_first, m).get(); }), "us");
  else if (name == "pool-8mib")
    large_values(name, pool);
  else if (name == "pool-death")
    deaths(name, pool);
  else if (name == "pool-queued-memory")
    queued(name, pool);
  else if (name == "pool-imap-memory")
    imap(name, pool);
  else
    return std::fprintf(stderr, "pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
