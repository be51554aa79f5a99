// Who gets what: items are claimed one by one, however they travel. What is not begun can be given to somebody else,
// taken back, overtaken.

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

}  // namespace

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
