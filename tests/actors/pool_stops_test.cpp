// Tasks that are stopped: by their deadline, by whoever waits for them.

#include "mp/queue.hpp"
#include "pool_tasks.hpp"

#include <set>
#include <stop_token>
#include <thread>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

/// Says its number, and stays until it is stopped, unless it is negative.
int until_stopped_or_not(std::stop_token stop, mp::queue<int> begun, int number) {
  if (number < 0) return number;
  begun.put(number);
  return until_stopped(std::move(stop), number);
}

}  // namespace

TEST_CASE("pool: a deadline stops a spinning task, and its neighbours do not notice", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const auto all = [&] {
      std::set<pid_t> pids;
      for (const pid_t w : p.broadcast(who, 0)) pids.insert(w);
      return pids;
    };
    const std::set<pid_t> before = all();
    auto bad = p.submit({.deadline = 50ms}, spin, 0);
    CHECK(before.contains(p.apply(who, 0)));
    const auto death = death_in([&] { return bad.get(); });
    CHECK(death.why == mp::death::deadline);
    CHECK(p.dead_letters().empty());
    // Which of the two it was nobody can say: what has not begun may go to the other one.
    const std::set<pid_t> after = all();
    for (const pid_t w : before) CHECK(after.contains(w) == (w != death.pid));
    // One that listens ends in its own way, and that is its answer.
    CHECK(p.apply({.deadline = 20ms, .grace = patience}, until_stopped, 4) == 4);
    // One whose moment is over before it begins.
    std::vector<mp::future<int>> busy;
    for (int i = 0; i < 2; ++i) busy.push_back(p.submit(until_stopped, i));
    wait_until_running(p, 2);
    auto late = p.submit({.deadline = std::chrono::steady_clock::now() + 20ms}, cube, 1);
    CHECK_ERRC(late.get(), deadline_exceeded);
    for (auto& f : busy) f.cancel();
    // Retried, because it may be.
    const mp::task_options twice{.deadline = 30ms,
                                 .retry = {.attempts = 2, .back_off = {.first = 1ms}, .idempotent = true}};
    CHECK_ERRC(p.apply(twice, spin, 0), deadline_exceeded);
    std::size_t good = 0, slow = 0;
    for (auto& o : p.outcomes([](int x) { return x == 5 ? spin(x) : x; }, numbers(20), {.deadline = 100ms})) {
      good += static_cast<bool>(o);
      slow += o.code() == mp::errc::deadline_exceeded;
    }
    CHECK(good == 19);
    CHECK(slow == 1);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: cancelling: queued ends at once, a listener in its own way, the deaf by force", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    auto running = p.submit({.grace = patience}, until_stopped, 7);
    wait_until_running(p);
    auto queued = p.submit(cube, 1);
    CHECK(queued.cancel());
    CHECK(queued.ready());
    CHECK_ERRC(queued.get(), cancelled);
    CHECK(running.cancel());
    CHECK(running.get() == 7);
    CHECK(p.stats().worker_deaths == 0);

    auto deaf = p.submit(spin, 0);
    wait_until_running(p);
    CHECK(deaf.cancel());
    try {
      deaf.get();
      FAIL("it answered");
    } catch (const mp::worker_died& e) {
      CHECK(e.code() == mp::errc::cancelled);
      CHECK(e.post_mortem().why == mp::death::cancelled);
    }
    auto done = p.submit(cube, 2);
    done.wait();
    CHECK_FALSE(done.cancel());
    CHECK(done.get() == 8);

    std::stop_source stop;
    auto hanging = std::thread([&] {
      wait_until_running(p);
      stop.request_stop();
    });
    CHECK_ERRC(p.map(hang, numbers(10), {.stop = stop.get_token()}), cancelled);
    hanging.join();
    CHECK(p.apply(cube, 3) == 27);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: cancelling: tasks that one worker runs in turn are all stopped", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    mp::queue<int> begun;
    for (int round = 0; round < 20; ++round) {
      // Quick before: so the second waits in the worker, not here.
      for (int i = 0; i < 8; ++i) CHECK(p.apply(until_stopped_or_not, begun, -1) == -1);
      const mp::task_options patient{.grace = patience};
      auto first = p.submit(patient, until_stopped_or_not, begun, 1);
      auto second = p.submit(patient, until_stopped_or_not, begun, 2);
      REQUIRE(begun.get_for(patience) == 1);
      first.cancel();
      REQUIRE(begun.get_for(patience) == 2);
      second.cancel();  // the answer of the first may not have been looked at yet
      const auto answer = second.get_for(patience);
      CHECK(answer == 2);
      if (!answer) break;
      CHECK(first.get() == 1);
    }
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}
