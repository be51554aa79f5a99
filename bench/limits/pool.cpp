// Limits of a pool of 2 workers: a pair of rings per worker whose waits park on a futex, and slots for large values.
// They must do nothing that a pool owes its users: no functions, no sizes, no death of a worker.

#include "../support/pool.hpp"
#include "../support/spsc_ring.hpp"

namespace {

using namespace bench;

struct lane {
  spsc_ring<true> there, back;
};

/// A worker that answers each message with itself.
child echo(lane& l, bool thinks) {
  return child([&l, thinks] {
    join_membarrier();  // the registration does not pass on to a fork's memory
    for (;;) {
      message m;
      l.there.get([&](const message& in) { m = in; });
      if (thinks) think_before_answer(m);
      l.back.put([&](message& out) { out = m; });
    }
  });
}

double map_rate(int tasks) {
  constexpr int ahead = 1024;  // in both lanes together, which hold four times as many
  auto* lanes = shared<std::array<lane, workers>>();
  join_membarrier();
  std::vector<child> all;
  for (auto& l : *lanes) all.push_back(echo(l, false));
  const auto lane_of = [&](int task) -> lane& { return (*lanes)[static_cast<std::size_t>(task % workers)]; };
  std::vector<int> results(static_cast<std::size_t>(tasks));
  return task_rate(tasks, [&] {
    for (int i = 0; i < tasks + ahead; ++i) {
      if (i < tasks) lane_of(i).there.put([i](message& m) { m.words[0] = static_cast<std::uint64_t>(i); });
      if (const int done = i - ahead; done >= 0)
        lane_of(done).back.get(
            [&](const message& m) { results[static_cast<std::size_t>(done)] = static_cast<int>(m.words[0]); });
    }
  });
}

template <class Measure>
double one_by_one(bool thinks, Measure measure) {
  auto* l = shared<lane>();
  join_membarrier();
  const child worker = echo(*l, thinks);
  return measure([&](const message& m) {
    message answer;
    l->there.put([&](message& out) { out = m; });
    l->back.get([&](const message& in) { answer = in; });
    return answer;
  });
}

/// A slot each way per worker; `take` gets the result where the worker left it.
struct large_lane {
  lane bells;
  alignas(4096) std::array<double, large_doubles> there, back;
};
template <class Take, class Finish = decltype([] {})>
double large_rate(Take take, Finish finish = {}) {
  auto* lanes = shared<std::array<large_lane, workers>>();
  join_membarrier();
  std::vector<child> all;
  for (auto& l : *lanes)
    all.emplace_back([&l] {
      join_membarrier();
      for (;;) {
        l.bells.there.get([](const message&) {});
        std::memcpy(l.back.data(), l.there.data(), large_bytes);
        scale(l.back.data());
        l.bells.back.put([](message&) {});
      }
    });
  const std::vector<double> in(large_doubles, 1.5);
  return task_rate(large_tasks, [&] {
    for (int i = 0; i < large_tasks + workers; ++i) {
      large_lane& l = (*lanes)[static_cast<std::size_t>(i % workers)];
      if (i >= workers) {
        l.bells.back.get([](const message&) {});
        take(i - workers, l.back.data());
      }
      if (i >= large_tasks) continue;
      std::memcpy(l.there.data(), in.data(), large_bytes);
      l.bells.there.put([](message&) {});
    }
    finish();
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"rings that park", "limit", "sleeps"}, slots{"shared slots", "limit", "sleeps"};
  if (name.starts_with("pool-map-chunk-1")) {
    emit(name, me, "rate", map_rate(tasks_of(name)), "task/s");
  } else if (name == "pool-submit" || name == "mailbox-request") {
    emit(name, me, "p50", one_by_one(false, [](auto trip) { return round_trip_awake(trip); }), "us");
  } else if (name == "pool-submit-asleep" || name == "mailbox-request-asleep") {
    emit(name, me, "p50", one_by_one(true, [](auto trip) { return round_trip_asleep(trip); }), "us");
  } else if (name == "pool-8mib") {
    std::vector<std::unique_ptr<double[]>> results(large_tasks);
    const auto keep = [&](int i, const double* from) {
      auto& to = results[static_cast<std::size_t>(i)];
      to = fresh_result();
      std::memcpy(to.get(), from, large_bytes);
    };
    emit(name, slots, "vectors",
         large_rate(keep,
                    [&] {  // nobody keeps the results of all runs
                      for (auto& r : results) r.reset();
                    }),
         "task/s");
    emit(name, slots, "reused", large_rate([](int, const double* from) { consume(from, large_bytes); }), "task/s");
  } else {
    return std::fprintf(stderr, "pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
