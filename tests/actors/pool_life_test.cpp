// The life of a pool: closed, terminated, drained, resized, destroyed, with work under way.

#include "pool_tasks.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <thread>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

int slow(int x) {
  // About a millisecond of work.
  for (int i = 0; i < 1000000; ++i) asm volatile("");
  return x;
}
int reports(int x) {
  mp::this_task::progress(1, 2, "half way");
  return until_stopped(mp::this_task::stop_token(), x);
}
int keeps(int megabytes) {
  static std::vector<char> kept;
  kept.assign(static_cast<std::size_t>(megabytes) << 20, 'x');
  return ::getpid();
}

int count_calls() {
  static int calls = 0;
  return ++calls;
}

}  // namespace

TEST_CASE("pool: close lets what was accepted run, then the workers leave", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK_ERRC(p.join(), still_open);
    std::vector<mp::future<int>> all;
    for (int i = 0; i < 50; ++i) all.push_back(p.submit(slow, i));
    p.close();
    p.close();
    CHECK_ERRC(p.submit(cube, 1), pool_closed);
    CHECK_ERRC(p.map(cube, {1}), pool_closed);
    CHECK_ERRC(p.resize(3), pool_closed);
    p.join();
    p.join();
    for (int i = 0; i < 50; ++i) CHECK(all[static_cast<std::size_t>(i)].get() == i);
    CHECK(p.stats().workers.empty());
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: terminate ends everything, and every future has an answer", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::vector<mp::future<int>> all;
    for (int i = 0; i < 20; ++i) all.push_back(p.submit(hang, i));
    wait_until_running(p, 2);
    auto r = p.imap(same, numbers(10));
    p.terminate();
    p.terminate();
    p.join();
    for (auto& f : all) {
      CHECK(f.ready());
      CHECK_ERRC(f.get(), cancelled);
    }
    CHECK_ERRC(p.submit(cube, 1), pool_closed);
    // What was not read before is not read any more, which is not taken for the input's end.
    CHECK_ERRC(r.get(), cancelled);
    CHECK_ERRC(r.get(), closed);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: destroyed with work under way, idle, or moved from, it leaves nothing behind", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::future<int> f, queued;
    {
      mp::pool p(1);
      f = p.submit(hang, 0);
      wait_until_running(p);
      queued = p.submit(cube, 1);
    }
    CHECK_ERRC(f.get(), cancelled);
    CHECK_ERRC(queued.get(), cancelled);
    { mp::pool idle(2); }
    mp::pool a(1);
    mp::pool b(std::move(a));
    CHECK_ERRC(a.apply(cube, 1), closed);
    CHECK(b.apply(cube, 2) == 8);
    b = mp::pool(1);
    CHECK(b.apply(cube, 3) == 27);
    static_cast<void>(b.submit(cube, 4));  // dropped: it runs, nobody hears
    std::vector<mp::future<int>> many;
    for (int i = 0; i < 1000; ++i) many.push_back(b.submit(same, i));
    many.clear();
    CHECK(b.apply(cube, 3) == 27);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: killed while it is closed, joined, terminated or resized, it still ends", "[pool][life]") {
  const fd_ledger ledger;
  for (int state = 0; state < 4; ++state)
    for (int round = 0; round < 3; ++round) {
      CAPTURE(state, round);
      mp::pool p(2);
      std::vector<mp::future<int>> all;
      for (int i = 0; i < 30; ++i) all.push_back(p.submit(slow, i));
      const auto workers = p.stats().workers;
      if (state == 0) p.close();
      if (state == 1) p.terminate();
      if (state == 2) p.resize(1);
      for (const auto& w : workers) ::kill(w.pid, SIGKILL);
      if (state == 3) p.close();
      for (auto& f : all) {
        REQUIRE(f.wait_for(patience));
        try {
          f.get();
        } catch (const mp::error& e) {
          CHECK((e.code() == mp::errc::worker_died || e.code() == mp::errc::cancelled));
        }
      }
      p.close();
      CHECK(p.join_for(patience));
    }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: drain says who went, and who had to be killed", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool good(2);
    CHECK(good.apply(cube, 1) == 1);
    const auto calm = good.drain(patience);
    CHECK(calm.clean());
    CHECK(calm.ended.size() == 2);
    mp::pool bad(2);
    auto f = bad.submit(hang, 0);
    wait_until_running(bad);
    const auto harsh = bad.drain(10ms);
    CHECK(harsh.ended.size() + harsh.killed.size() == 2);
    CHECK_FALSE(harsh.clean());
    CHECK_ERRC(f.get(), cancelled);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: resized, it has as many workers as it should", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    p.resize(3);
    REQUIRE(eventually([&] { return p.stats().workers.size() == 3; }));
    CHECK(p.broadcast(who, 0).size() == 3);
    p.resize(1);
    REQUIRE(eventually([&] { return p.stats().workers.size() == 1; }));
    CHECK(p.map(cube, numbers(100)).size() == 100);
    CHECK(p.stats().worker_deaths == 0);
    CHECK_ERRC(p.resize(0), invalid_argument);
    CHECK_ERRC(p.resize(-1), invalid_argument);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: workers are replaced after so many tasks, and none is lost", "[pool][life]") {
  const fd_ledger ledger;
  for (const std::ptrdiff_t most : {1, 3, 50}) {
    CAPTURE(most);
    mp::pool p({.workers = 1, .max_tasks_per_worker = most});
    const std::vector<std::ptrdiff_t> counts = p.map(count_here, numbers(60), {.chunk = 1});
    CHECK(std::ranges::max(counts) == most);
    CHECK(std::ranges::count(counts, 1) == (60 + most - 1) / most);
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: no callback runs any more when join or the destructor has come back", "[pool][life]") {
  const fd_ledger ledger;
  for (int round = 0; round < 40; ++round) {
    CAPTURE(round);
    std::atomic<int> begun{0}, ended{0};
    {
      mp::pool p({.workers = 2, .on_worker_exit = [&](const mp::worker_exit&) {
                    ++begun;
                    for (int i = 0; i < 500; ++i) std::this_thread::yield();
                    ++ended;
                  }});
      CHECK(p.apply(cube, 2) == 8);
      if (round % 2 == 0) continue;
      p.close();
      p.join();
      CHECK(ended == 2);
    }
    CHECK(ended == 2);
    CHECK(begun == 2);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a worker that has grown too large is replaced between tasks", "[pool][life]") {
  const fd_ledger ledger;
  {
    if (address_sanitizer || thread_sanitizer) MP_SKIP("sanitizers make every process large");
    mp::pool p({.workers = 1, .max_memory_per_worker = 100 << 20});
    const int first = p.apply(keeps, 1);
    CHECK(p.apply(keeps, 1) == first);
    CHECK(p.apply(keeps, 200) == first);
    REQUIRE(eventually([&] {
      const auto s = p.stats();
      return s.workers.size() == 1 && s.workers[0].pid != first;
    }));
    CHECK(p.apply(keeps, 1) != first);
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: max_queued: submit waits, try_submit refuses", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 1, .max_queued = 2});
    auto busy = p.submit(until_stopped, 0);
    wait_until_running(p);
    std::vector<mp::future<int>> some;
    std::optional<mp::future<int>> one;
    while ((one = p.try_submit({}, same, 1))) some.push_back(std::move(*one));
    CHECK(some.size() >= 2);
    CHECK(some.size() <= 3);
    std::thread waits([&] { CHECK_NOTHROW(p.apply(same, 2)); });
    busy.cancel();
    waits.join();
    for (auto& f : some) CHECK(f.get() == 1);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: higher priority runs first; same key, same worker, in order", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    auto busy = p.submit(until_stopped, 0);
    wait_until_running(p);
    std::vector<mp::future<int>> all;
    for (const int priority : {0, 5, -1, 9, 5}) all.push_back(p.submit({.priority = priority}, count_calls));
    busy.cancel();
    std::vector<int> turns;
    for (auto& f : all) turns.push_back(f.get());
    const int first = turns[3];  // its worker may have run other tasks before
    CHECK(turns == std::vector{first + 3, first + 1, first + 4, first, first + 2});
  }
  {
    mp::pool p(3);
    for (const char* key : {"a", "b", "c", "d"}) {
      std::set<pid_t> pids;
      std::vector<mp::future<pid_t>> all;
      for (int i = 0; i < 20; ++i) all.push_back(p.submit({.key = key}, who, i));
      for (auto& f : all) pids.insert(f.get());
      CHECK(pids.size() == 1);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an idle worker takes over what waits behind a long task", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    p.map(same, numbers(2000), {.chunk = 1});  // now it knows that these are short, and prefetches
    auto busy = p.submit([](std::stop_token stop, int x) { return until_stopped(stop, x); }, 0);
    wait_until_running(p);
    std::vector<mp::future<int>> all;
    for (int i = 0; i < 40; ++i) all.push_back(p.submit(same, i));
    for (int i = 0; i < 40; ++i) {
      REQUIRE(all[static_cast<std::size_t>(i)].wait_for(patience));
      CHECK(all[static_cast<std::size_t>(i)].get() == i);
    }
    busy.cancel();
    CHECK(busy.get() == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: progress is seen from outside", "[pool][life]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    std::atomic<int> heard{0};
    auto f = p.submit({.on_progress = [&heard](const mp::progress_report& r) { heard += r.text == "half way"; }},
                      reports, 3);
    REQUIRE(eventually([&] { return f.progress().has_value(); }));
    CHECK(f.progress()->done == 1);
    CHECK(f.progress()->total == 2);
    CHECK(f.progress()->text == "half way");
    REQUIRE(eventually([&] { return heard == 1; }));
    f.cancel();
    CHECK(f.get() == 3);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: wrong options are refused before anything is started", "[pool][life]") {
  const fd_ledger ledger;
  CHECK_ERRC(mp::pool(0), invalid_argument);
  CHECK_ERRC(mp::pool(-1), invalid_argument);
  CHECK_ERRC(mp::pool(100000), invalid_argument);
  CHECK_ERRC(mp::pool({.max_tasks_per_worker = -1}), invalid_argument);
  CHECK_ERRC(mp::pool({.max_queued = -1}), invalid_argument);
  CHECK_ERRC(mp::pool({.retry = {.attempts = 2}}), invalid_argument);
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a callback may destroy the pool, or wait nowhere", "[pool][life]") {
  const fd_ledger ledger;
  {
    auto p = std::make_unique<mp::pool>(1);
    auto f = p->submit(cube, 2);
    auto inner = p->submit(hang, 0);
    auto ended = f.then([&p](int) {
      const bool refused = errc_of([&] { return p->apply(cube, 1); }) == mp::errc::would_deadlock;
      p.reset();
      return refused;
    });
    CHECK(ended.get());
    CHECK_ERRC(inner.get(), cancelled);
  }
  CHECK_CLEAN(ledger);
}
