// Limits of a pool of 2 workers: a pair of rings per worker whose waits park on a futex, and slots for large values.
// They must do nothing that a pool owes its users: no functions, no sizes, no death of a worker.

#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <csignal>
#include <thread>

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

/// In blocks, one to this worker and one to that: a sleeper is woken for many, and whoever works is let alone for a while.
double map_rate(int tasks) {
  constexpr int block = 256, ahead = 8;  // blocks in both lanes together, which hold twice as many
  auto* lanes = shared<std::array<lane, workers>>();
  join_membarrier();
  std::vector<child> all;
  for (auto& l : *lanes) all.push_back(echo(l, false));
  const auto lane_of = [&](int number) -> lane& { return (*lanes)[static_cast<std::size_t>(number % workers)]; };
  std::vector<int> results(static_cast<std::size_t>(tasks));
  const int blocks = (tasks + block - 1) / block;
  const auto each = [&](int number, auto f) {
    for (int i = number * block; i < std::min(tasks, (number + 1) * block); ++i) f(lane_of(number), i);
  };
  return task_rate(tasks, [&] {
    for (int b = 0; b < blocks + ahead; ++b) {
      if (b < blocks)
        each(b, [](lane& l, int i) { l.there.put([i](message& m) { m.words[0] = static_cast<std::uint64_t>(i); }); });
      if (b >= ahead)
        each(b - ahead, [&](lane& l, int i) {
          l.back.get([&](const message& m) { results[static_cast<std::size_t>(i)] = static_cast<int>(m.words[0]); });
        });
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

/// A slot per worker, in which it scales; `take` gets the result there.
struct large_lane {
  lane bells;
  alignas(4096) std::array<double, large_doubles> values;
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
        scale(l.values.data());
        l.bells.back.put([](message&) {});
      }
    });
  const std::vector<double> in(large_doubles, 1.5);
  return task_rate(large_tasks, [&] {
    for (int i = 0; i < large_tasks + workers; ++i) {
      large_lane& l = (*lanes)[static_cast<std::size_t>(i % workers)];
      if (i >= workers) {
        l.bells.back.get([](const message&) {});
        take(i - workers, l.values.data());
      }
      if (i >= large_tasks) continue;
      std::memcpy(l.values.data(), in.data(), large_bytes);
      l.bells.there.put([](message&) {});
    }
    finish();
  });
}

/// The work alone, on both processors: threads that scale from the one input into memory of their own, and consume that.
double large_rate_of_threads() {
  const std::vector<double> in(large_doubles, 1.5);
  std::array<std::vector<double>, workers> own;
  own.fill(std::vector<double>(large_doubles));
  return task_rate(large_tasks, [&] {
    std::vector<std::jthread> all;
    for (auto& out : own)
      all.emplace_back([&] {
        for (int i = 0; i < large_tasks / workers; ++i) {
          for (std::size_t k = 0; k < large_doubles; ++k) out[k] = in[k] * 2;
          consume(out.data(), large_bytes);
        }
      });
  });
}

/// A process that kills itself, and a parent that sleeps until the kernel says so: no status, no last words, no task.
void deaths(std::string_view name, const identity& me) {
  auto* when = shared<std::atomic<std::int64_t>>();
  auto* go = shared<std::atomic<int>>();
  std::vector<double> samples;
  for (int i = 0; i < 300; ++i) {
    go->store(0);
    std::fflush(stdout);
    const pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
      while (go->load() == 0) pause_cpu();
      when->store(clock::now().time_since_epoch().count());
      std::raise(SIGKILL);
    }
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    check(pidfd >= 0, "pidfd_open");
    think(10 * think_time);
    go->store(1);
    pollfd end{pidfd, POLLIN, 0};
    while (poll(&end, 1, -1) != 1) {
    }
    samples.push_back(micros(clock::now().time_since_epoch() - clock::duration(when->load())));
    close(pidfd);
    waitpid(pid, nullptr, 0);
  }
  std::sort(samples.begin(), samples.end());
  emit(name, me, "p50", samples[150], "us");
  emit(name, me, "p99", samples[297], "us");
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
  } else if (name == "pool-death") {
    deaths(name, {"the kernel's own news", "limit", "sleeps"});
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
    emit(name, {"threads, nothing copied", "means", "-"}, "reused", large_rate_of_threads(), "task/s");
  } else {
    return std::fprintf(stderr, "pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
