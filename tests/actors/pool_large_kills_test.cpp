// The kill loop of large arguments: no worker that dies, wherever it is, may cost a byte of another task's argument.

#include "mp/this_process.hpp"
#include "pool_large.hpp"
#include "pool_tasks.hpp"
#include "support/figures.hpp"

#include <signal.h>
#include <atomic>
#include <random>
#include <string>
#include <thread>

using namespace mp_test;

TEST_CASE("pool: large arguments while workers are killed at any moment: each is answered with its own",
          "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 3, .restart = {.intensity = 100000}, .retry = {.attempts = 1000, .idempotent = true}});
    std::atomic<bool> is_over{false};
    std::atomic<std::size_t> may_kill{0};  // so much for each batch: the next attempts get their chance
    std::size_t kills = 0;
    std::jthread killer([&] {
      for (std::minstd_rand random(3); !is_over; std::this_thread::yield()) {
        const auto workers = mp::this_process::active_children();
        if (!workers.empty() && kills < may_kill) kills += ::kill(workers[random() % workers.size()].pid, SIGKILL) == 0;
        for (std::size_t turns = random() % 3000; turns != 0 && !is_over; --turns) std::this_thread::yield();
      }
    });
    std::minstd_rand random(5);
    std::size_t answers = 0;
    for (std::uint64_t number = 0; number < 600;) {
      std::vector<std::vector<std::uint64_t>> in;
      std::vector<std::int64_t> numbers_in;
      may_kill += 3;
      for (int i = 0; i < 6; ++i, ++number) {
        in.push_back(argument(number, 200 * kib + random() % (2 * mib)));
        numbers_in.push_back(static_cast<std::int64_t>(number));
      }
      auto alone = p.submit(number_of, in[0]);
      auto dropped = p.submit(number_of, in[1]);
      dropped.cancel();
      CHECK(p.map(number_of, in, {.chunk = 1 + static_cast<std::ptrdiff_t>(random() % 3)}) == numbers_in);
      CHECK(alone.get() == numbers_in[0]);
      answers += numbers_in.size() + 1;
    }
    is_over = true;
    killer.join();
    figure("large arguments: " + std::to_string(answers) + " answers, " + std::to_string(kills) + " kills");
    CHECK(kills > 0);
  }
  CHECK_CLEAN(ledger);
}
