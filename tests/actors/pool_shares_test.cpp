// Who gets what: items are claimed one by one, however they travel. What is not begun can be given to somebody else,
// taken back, overtaken; what ends early says so.

#include "mp/queue.hpp"
#include "pool_tasks.hpp"

#include <fstream>
#include <future>
#include <iterator>
#include <ranges>
#include <set>
#include <stop_token>
#include <thread>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

/// Blocks for item 0 until another item has run somewhere else.
struct first_waits_for {
  mp::queue<int> done;
  int other = 0;

  int operator()(int x) const {
    if (x == other) done.put(x);
    if (x == 0) return done.get();
    return x;
  }
};

/// Tells which item has run; one of them ends its worker.
struct tells {
  mp::queue<int> heard;
  int deadly = -1;

  int operator()(int x) const {
    if (x == deadly) end_by(end::kill);
    heard.put(x);
    return x;
  }
};

/// Waits at a gate, but for item 0.
struct gated {
  mp::queue<int> gate;

  int operator()(int x) const { return x == 0 ? 0 : gate.get() + x; }
};

int a_millisecond(int x) {
  const auto end = std::chrono::steady_clock::now() + 1ms;
  while (std::chrono::steady_clock::now() < end) continue;
  return x;
}

/// A callable whose own bytes are no good.
struct trap {
  int deed = 0;  // 0: throws, 1: ends the process, 2: hangs
};
struct with_trap {
  trap field;
  int operator()(int x) const { return x; }
};

/// Takes all that is there.
std::vector<int> drain(const mp::queue<int>& q) {
  std::vector<int> all;
  try {
    while (auto v = q.try_get()) all.push_back(*v);
  } catch (const mp::error& e) {
    REQUIRE(e.code() == mp::errc::closed);  // nobody else has it any more
  }
  return all;
}
/// How a range of results ends; and what of it came, or was not taken any more.
mp::errc end_of(mp::results<int>& all, int& values, int& refused) {
  for (;;) try {
      all.get();
      ++values;
    } catch (const mp::error& e) {
      refused += e.code() == mp::errc::pool_closed;
      if (e.code() != mp::errc::cancelled && e.code() != mp::errc::pool_closed)
        return static_cast<mp::errc>(e.code().value());
    }
}

template <class F>
std::vector<mp::death> deaths_of(F&& f) {
  std::vector<mp::death> all;
  try {
    static_cast<void>(f());
  } catch (const mp::worker_died& e) {
    for (const auto& one : e.deaths()) all.push_back(one.why);
  }
  return all;
}

}  // namespace

template <>
struct mp::codec<trap> {
  static int encode(const trap& t) { return t.deed; }
  static trap decode(int deed) {
    if (deed == 0) throw std::range_error("no good");
    if (deed == 1) end_by(end::kill);
    hang(deed);
  }
};

TEST_CASE("pool: what waits behind a long item of its chunk goes to an idle worker", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const std::ptrdiff_t chunk : {100, 1, 0}) {
      CAPTURE(chunk);
      CHECK(p.map(first_waits_for{.done = {}, .other = 99}, numbers(100), {.chunk = chunk}).size() == 100);
      // Also when everything is handed out at once.
      CHECK(p.map_async(first_waits_for{.done = {}, .other = 99}, numbers(100), {.chunk = chunk}).get().size() == 100);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: small chunks travel together, and each item is run once", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (int round = 0; round < 20; ++round) {
      const auto in = numbers(20'000);
      REQUIRE(p.map(same, in, {.chunk = 1}) == in);
      REQUIRE(p.map(same, in, {.chunk = 3}) == in);
      int n = 0;
      for (const int v : p.imap(same, in, {.chunk = 1, .look_ahead = 1000})) REQUIRE(v == n++);
      REQUIRE(n == 20'000);
    }
    CHECK(p.stats().done == 20u * 3 * 20'000);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: results do not wait for a long item behind them in the same chunk", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    const gated f{};
    std::vector<int> in(50, 0);
    in.push_back(1);
    auto all = p.imap(f, in, {.chunk = 51});
    for (int i = 0; i < 50; ++i) REQUIRE(all.get_for(patience) == 0);
    f.gate.put(41);
    CHECK(all.get_for(patience) == 42);
    CHECK_ERRC(all.get(), closed);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: how long other functions take says nothing about a new one", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    p.map(same, numbers(20'000));
    const gated f{};
    std::vector<int> in{0, 0};
    in.resize(2000, 1);
    auto all = p.imap(f, in);
    CHECK(all.get_for(patience) == 0);
    CHECK(all.get_for(patience) == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: what is more important goes in front of what was handed out ahead", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    const gated gate{};
    const tells tell{};
    for (int i = 0; i < 50; ++i) {  // both are known to be quick
      p.apply(gate, 0);
      p.apply(tell, 1000);
      tell.heard.get();
    }
    auto first = p.submit(gate, 1);
    wait_until_running(p);
    std::vector<mp::future<int>> all;
    for (int i = 0; i < 20; ++i) all.push_back(p.submit(tell, i));
    all.push_back(p.submit({.priority = 1}, tell, 100));
    all.push_back(p.submit({.priority = 2}, tell, 200));
    all.push_back(p.submit({.priority = 3, .key = "a"}, tell, 300));
    all.push_back(p.submit({.key = "a"}, tell, 20));
    gate.gate.put(1);
    for (auto& one : all) one.get();
    std::vector<int> order = drain(tell.heard);
    REQUIRE(order.size() == 24);
    CHECK(std::vector(order.begin(), order.begin() + 3) == std::vector{300, 200, 100});
    // The others in their order.
    std::erase_if(order, [](int v) { return v >= 20; });
    CHECK(order == numbers(20));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: keys survive a smaller pool", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(4);
    std::vector<mp::future<int>> all;
    const auto submit = [&] {
      for (int i = 0; i < 40; ++i) all.push_back(p.submit({.key = std::to_string(i)}, a_millisecond, i));
    };
    submit();
    p.resize(2);
    submit();
    p.resize(3);
    submit();
    p.resize(1);
    submit();
    for (auto& one : all) REQUIRE(one.wait_for(patience));
    p.close();
    CHECK(p.join_for(patience));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: broadcast runs once on each worker, also on one that is busy", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const gated gate{};
    for (int i = 0; i < 50; ++i) {
      p.apply(gate, 0);
      p.apply(who, 0);
    }
    auto busy = p.submit(gate, 1);
    wait_until_running(p);
    auto all = std::async(std::launch::async, [&] { return p.broadcast(who, 0); });
    const auto done = p.stats().done;
    for (int i = 0; i < 100; ++i) p.apply(same, i);  // the other one is idle again and again
    REQUIRE(eventually([&] { return p.stats().done >= done + 100; }));
    gate.gate.put(0);
    const auto pids = all.get();
    CHECK(std::set(pids.begin(), pids.end()).size() == 2);
    busy.get();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a cancelled chunk ends, whatever item it is at", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (int round = 0; round < 10; ++round) {
      auto all = p.map_async(a_millisecond, numbers(20'000), {.chunk = 10'000});
      wait_until_running(p, 2);
      CHECK(all.cancel());
      CHECK_ERRC(all.get(), cancelled);
      CHECK(p.apply(cube, 3) == 27);
    }
    // And with items that listen, and return.
    auto polite =
        p.map_async([](std::stop_token stop, int x) { return until_stopped(stop, x); }, numbers(2000), {.chunk = 1000});
    wait_until_running(p, 2);
    CHECK(polite.cancel());
    CHECK_ERRC(polite.get(), cancelled);
    auto last = p.map_async(a_millisecond, numbers(20'000), {.chunk = 10'000});
    wait_until_running(p, 2);
    p.terminate();
    CHECK(p.join_for(patience));
    CHECK_ERRC(last.get(), cancelled);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a callable's handles are there for every part of a chunk that a death cuts", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const tells f{.heard = {}, .deadly = 3};
    int good = 0, died = 0;
    for (auto& one : p.outcomes(f, numbers(10), {.chunk = 10})) {
      good += static_cast<bool>(one);
      died += one.post_mortem() != nullptr;
    }
    CHECK(good == 9);
    CHECK(died == 1);
    const mp::map_options twice{.chunk = 10, .retry = {.attempts = 2, .back_off = {.first = 1ms}, .idempotent = true}};
    std::vector<std::size_t> deaths;
    for (auto& one : p.outcomes(f, numbers(10), twice))
      if (!one) deaths.push_back(one.index);
    CHECK(deaths == std::vector<std::size_t>{3});
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a callable that cannot be read is its items' error", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK(p.map(same, numbers(100)) == numbers(100));
    for (auto& one : p.outcomes(with_trap{{0}}, numbers(5), {.chunk = 5})) CHECK(one.code() == mp::errc::undecodable);
    CHECK(p.stats().worker_deaths == 0);
    int died = 0;
    for (auto& one : p.outcomes(with_trap{{1}}, numbers(5), {.chunk = 5})) died += one.post_mortem() != nullptr;
    CHECK(died == 5);
    int late = 0;
    for (auto& one : p.outcomes(with_trap{{2}}, numbers(2), {.chunk = 2, .deadline = 20ms}))
      late += one.code() == mp::errc::deadline_exceeded;
    CHECK(late == 2);
    auto hangs = p.map_async(with_trap{{2}}, numbers(2), {.chunk = 2});
    wait_until_running(p);
    CHECK(hangs.cancel());
    CHECK_ERRC(hangs.get(), cancelled);
    CHECK(p.map(same, numbers(100)) == numbers(100));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a call whose input was not read to its end says why", "[pool][shares]") {
  const fd_ledger ledger;
  {
    std::stop_source tripped;
    tripped.request_stop();
    mp::pool p(2);
    CHECK_ERRC(p.map(same, numbers(100), {.stop = tripped.get_token()}), cancelled);
    CHECK_ERRC(p.for_each(nothing, numbers(100), {.stop = tripped.get_token()}), cancelled);
    std::stop_source stop;
    const auto stops = std::views::iota(0, 1000) | std::views::transform([&](int i) {
                         if (i == 500) stop.request_stop();
                         return i;
                       });
    CHECK_ERRC(p.map(same, stops, {.chunk = 1, .stop = stop.get_token()}), cancelled);
    // An imap just ends.
    std::stop_source other;
    auto some = p.imap(same, numbers(1000), {.stop = other.get_token()});
    CHECK(some.get() == 0);
    other.request_stop();
    int values = 0, refused = 0;
    CHECK(end_of(some, values, refused) == mp::errc::closed);
    CHECK(refused == 0);
  }
  for (const bool lazily : {false, true}) {
    mp::pool p(2);
    const auto closes = std::views::iota(0, 1000) | std::views::transform([&](int i) {
                          if (i == 500) p.close();
                          return i;
                        });
    if (!lazily) {
      CHECK_ERRC(p.map(same, closes, {.chunk = 1}), pool_closed);
    } else {
      auto all = p.imap(same, closes, {.chunk = 1});
      // What was read and not accepted says so in its place.
      int values = 0, refused = 0;
      CHECK(end_of(all, values, refused) == mp::errc::closed);
      CHECK(values + refused < 600);
      CHECK(refused > 0);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an input that throws is the answer of map_async, once what was read has run", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const tells f{};
    const auto bad = std::views::iota(0, 100) | std::views::transform([](int i) {
                       if (i == 50) throw std::range_error("no more");
                       return i;
                     });
    auto all = p.map_async(f, bad, {.chunk = 1});
    CHECK_THROWS_AS(all.get(), std::range_error);
    CHECK(drain(f.heard).size() == 50);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a moment that is over ends what waits, also the items of a map", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    const gated gate{};
    auto busy = p.submit(gate, 1);
    wait_until_running(p);
    auto all = p.map_async(same, numbers(10), {.deadline = std::chrono::steady_clock::now() + 20ms});
    REQUIRE(all.wait_for(patience));
    CHECK_ERRC(all.get(), deadline_exceeded);
    gate.gate.put(0);
    busy.get();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: the pool's retries hold for tasks that have other options", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p{{.workers = 2, .retry = {.attempts = 3, .back_off = {.first = 1ms}, .idempotent = true}}};
    CHECK(deaths_of([&] { return p.apply({.key = "k"}, end_worker, end::kill); }).size() == 3);
    CHECK(deaths_of([&] {
            return p.apply({.retry = {.attempts = 1, .idempotent = true}}, end_worker, end::kill);
          }).size() == 1);
    CHECK(deaths_of([&] { return p.map(end_worker, {end::kill}, {.deadline = patience}); }).size() == 3);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: on_worker_exit says whether a new one comes", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::queue<int> told;
    mp::pool p{{.workers = 1, .on_worker_exit = [told](const mp::worker_exit& e) { told.put(e.replaced); }}};
    auto dies = p.submit(end_worker, end::kill);
    auto next = p.submit(cube, 2);
    p.close();  // there is work left
    CHECK_THROWS_AS(dies.get(), mp::worker_died);
    CHECK(next.get() == 8);
    CHECK(told.get_for(patience) == 1);
    p.join();
    CHECK(told.get_for(patience) == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: ps shows which worker of which pool a process is", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p{{.workers = 2, .name = "resize images"}};
    std::set<std::string> lines;
    for (const pid_t pid : p.broadcast(who, 0)) {
      std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
      lines.insert(std::string(std::istreambuf_iterator<char>(file), {}).c_str());
    }
    std::ifstream mine("/proc/self/cmdline");
    std::string program;
    std::getline(mine, program, '\0');
    program.erase(0, program.rfind('/') + 1);
    CHECK(lines == std::set{program + ": resize images worker 1", program + ": resize images worker 2"});
  }
  CHECK_CLEAN(ledger);
}
