// The kill loop of results in place: no worker that dies, wherever it is, may leave another's words in a result, nor
// half of its own work in an argument that is tried again.

#include "mp/this_process.hpp"
#include "pool_large.hpp"
#include "pool_tasks.hpp"
#include "support/figures.hpp"

#include <signal.h>
#include <algorithm>
#include <atomic>
#include <iterator>
#include <random>
#include <ranges>
#include <span>
#include <string>
#include <thread>

using namespace mp_test;

namespace {

std::span<std::uint64_t> flipped(std::span<std::uint64_t> v) {
  for (auto& word : v) word = ~word;
  return v;
}
std::int64_t number_of_flipped(std::span<const std::uint64_t> v) {
  std::vector<std::uint64_t> words(v.begin(), v.end());
  flipped(words);
  return number_of(words);
}

/// Kills one of the children now and then, as often as it may.
class killer {
public:
  explicit killer(unsigned seed) : thread_([this, seed] { run(seed); }) {}
  void may_kill_more(std::size_t n) { may_kill_ += n; }
  std::size_t count() const { return kills_; }
  std::size_t stop() {
    is_over_ = true;
    thread_.join();
    return kills_;
  }

private:
  void run(unsigned seed) {
    for (std::minstd_rand random(seed); !is_over_; std::this_thread::yield()) {
      const auto workers = mp::this_process::active_children();
      if (!workers.empty() && kills_ < may_kill_)
        kills_ += ::kill(workers[random() % workers.size()].pid, SIGKILL) == 0;
      for (std::size_t turns = random() % 3000; turns != 0 && !is_over_; --turns) std::this_thread::yield();
    }
  }
  std::atomic<bool> is_over_{false};
  std::atomic<std::size_t> may_kill_{0};
  std::atomic<std::size_t> kills_{0};
  std::jthread thread_;
};

}  // namespace

TEST_CASE("pool spans: while workers are killed at any moment each result is its item's, or its worker's death",
          "[pool][spans][kills]") {
  const fd_ledger ledger(true);  // the pool before may be on its way out
  for (const bool tries_again : {false, true}) {
    mp::pool pool({.workers = 3, .restart = {.intensity = 100000}});
    killer kills(tries_again ? 7 : 11);
    std::size_t deaths = 0, good = 0, items = 0;
    std::minstd_rand random(13);
    for (std::uint64_t number = 0; number < 300 || kills.count() < 10; number += 30) {
      kills.may_kill_more(10);
      mp::map_options options;
      if (tries_again) options.retry = {.attempts = 1000, .idempotent = true};
      auto all = pool.imap(flipped, std::views::iota(number, number + 30) | std::views::transform([&](std::uint64_t n) {
                                      return argument(n, 200 * kib + random() % (2 * mib));
                                    }),
                           options);
      auto it = all.begin();
      for (std::uint64_t n = number; n < number + 30; ++n, ++it, ++items) try {
          const std::span<const std::uint64_t> v = *it;
          CHECK(number_of_flipped(v) == static_cast<std::int64_t>(n));
          ++good;
        } catch (const mp::worker_died&) {
          ++deaths;
        }
      CHECK(it == std::default_sentinel);
    }
    CHECK(good + deaths == items);
    if (tries_again) CHECK(deaths == 0);
    const std::size_t count = kills.stop();
    figure("results in place: " + std::to_string(good) + " answers, " + std::to_string(deaths) + " deaths in a task, " +
           std::to_string(count) + " kills");
  }
  CHECK_CLEAN(ledger);
}
