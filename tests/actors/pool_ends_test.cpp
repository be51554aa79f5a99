// What ends early: cancelled chunks, callables that cannot be read, input that was not read, moments that are over.

#include "pool_shares.hpp"

#include <fstream>
#include <future>
#include <iterator>
#include <ranges>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

/// A callable whose own bytes are no good.
struct trap {
  int deed = 0;  // 0: throws, 1: ends the process, 2: hangs
};
struct with_trap {
  trap field;
  int operator()(int x) const { return x; }
};

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

TEST_CASE("pool: a cancelled chunk ends, whatever item it is at", "[pool][shares]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (int round = 0; round < 3; ++round) {
      auto all = p.map_async(a_millisecond, numbers(2000), {.chunk = 1000});
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
    auto last = p.map_async(a_millisecond, numbers(2000), {.chunk = 1000});
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
