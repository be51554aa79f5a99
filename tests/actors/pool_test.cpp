// mp::pool: what its calls give when nothing goes wrong, and what tasks throw.

#include "mp/queue.hpp"
#include "pool_tasks.hpp"

#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <future>
#include <list>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <sstream>
#include <tuple>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

struct scale {
  int by = 1;
  std::string unit;
  std::string operator()(int x) const { return std::to_string(x * by) + unit; }
};
struct point {
  int x = 0, y = 0;
  int sum(int more) const { return x + y + more; }
};
std::vector<double> doubled(std::vector<double> v) {
  for (double& d : v) d *= 2;
  return v;
}
bool is_even(int x) { return x % 2 == 0; }
std::optional<std::string> maybe_text(int x) { return x < 0 ? std::nullopt : std::optional(std::to_string(x)); }
void put_into(mp::queue<int> q, int x) { q.put(x); }
int add(int a, int b) { return a + b; }
int nested_sum(int n) {
  mp::pool inner(2);
  const auto all = inner.map(cube, std::views::iota(0, n));
  return std::accumulate(all.begin(), all.end(), 0);
}
struct no_default {
  explicit no_default(int v) : value(v) {}
  int value;
};
no_default make_one(int v) { return no_default(v); }
std::string about_me() {
  std::ostringstream text;
  text << mp::this_task::id() << ' ' << mp::this_task::attempt() << ' ' << mp::this_task::key() << ' '
       << mp::this_task::deadline().has_value();
  return text.str();
}
std::string my_name() { return mp::this_process::name(); }

}  // namespace
template <>
struct mp::codec<no_default> {
  static int encode(const no_default& n) { return n.value; }
  static no_default decode(int v) {
    if (v == 666) throw std::runtime_error("no such value");
    return no_default(v);
  }
};

TEST_CASE("pool: apply and submit give what the function returns", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK(p.apply(cube, 3) == 27);
    CHECK(p.apply(joined, "a", 1) == "a1");
    CHECK(p.apply([](int a, int b) { return a - b; }, 5, 3) == 2);
    CHECK(p.apply(scale{3, "m"}, 4) == "12m");
    CHECK(p.apply(&point::sum, point{1, 2}, 3) == 6);
    CHECK(p.apply(doubled, std::vector{1.5, 2.5}) == std::vector{3.0, 5.0});
    CHECK(p.apply(maybe_text, 5) == "5");
    p.apply(nothing, 1);
    auto f = p.submit(cube, 2);
    CHECK(f.id() != 0);
    CHECK(f.wait_for(patience));
    CHECK(f.ready());
    CHECK(f.get() == 8);
    CHECK(p.apply(make_one, 9).value == 9);
    CHECK_ERRC(p.apply(make_one, 666), undecodable);
    int (*none)(int) = nullptr;
    CHECK_ERRC(p.submit(none, 1), invalid_argument);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: map gives the results in the order of the input, whatever the input and the chunk", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK(p.map(cube, std::views::iota(1, 7)) == std::vector{1, 8, 27, 64, 125, 216});
    CHECK(p.map(cube, {1, 2, 3}) == std::vector{1, 8, 27});
    CHECK(p.map(cube, std::vector<int>{}).empty());
    const auto in = numbers(5000);
    for (const std::ptrdiff_t chunk : {0, 1, 7, 1000, 100000}) {
      CAPTURE(chunk);
      CHECK(p.map(same, in, {.chunk = chunk}) == in);
    }
    std::istringstream words("3 4 5");
    CHECK(p.map(cube, std::ranges::istream_view<int>(words)) == std::vector{27, 64, 125});
    CHECK(p.map(cube, std::list{2, 3}) == std::vector{8, 27});
    CHECK(p.map(is_even, std::views::iota(0, 3)) == std::vector{true, false, true});
    CHECK(p.map(scale{2, "s"}, std::views::iota(0, 3)) == std::vector<std::string>{"0s", "2s", "4s"});
    CHECK(p.map(maybe_text, {-1, 1}) == std::vector<std::optional<std::string>>{std::nullopt, "1"});
    CHECK(p.map(make_one, {1, 2, 3}).at(2).value == 3);
    p.for_each(nothing, in);
    const std::vector<std::tuple<int, int>> pairs{{1, 2}, {3, 4}};
    CHECK(p.starmap(add, pairs) == std::vector{3, 7});
    CHECK(p.starmap(add, std::vector{std::pair{5, 6}}) == std::vector{11});
    CHECK(p.map_async(cube, in).get().at(10) == 1000);
    CHECK(p.starmap_async(add, pairs).get() == std::vector{3, 7});
    CHECK_ERRC(p.map(cube, in, {.chunk = -1}), invalid_argument);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: large arguments and results travel whole", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const std::vector<double> big(1 << 18, 1.25);
    const std::vector<std::vector<double>> many(6, big);
    const auto all = p.map(doubled, many);
    REQUIRE(all.size() == many.size());
    for (const auto& v : all) CHECK(v == std::vector<double>(big.size(), 2.5));
    // Results of a chunk that do not fit beside each other.
    const auto texts =
        p.map([](int n) { return std::string(static_cast<std::size_t>(n) * 1000, 'x'); }, numbers(200), {.chunk = 50});
    for (std::size_t i = 0; i < texts.size(); ++i) CHECK(texts[i].size() == i * 1000);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: handles may be arguments", "[pool]") {
  const fd_ledger ledger;
  {
    mp::queue<int> q;
    mp::pool p(2);
    std::vector<std::tuple<mp::queue<int>, int>> in;
    for (int i = 0; i < 5; ++i) in.emplace_back(q, i);
    p.starmap(put_into, in, {.chunk = 3});
    p.apply(put_into, q, 5);
    std::vector<int> got;
    while (got.size() != 6) got.push_back(q.get());
    std::ranges::sort(got);
    CHECK(got == numbers(6));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: imap reads and gives lazily, and may be left early", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::vector<int> got;
    for (const int v : p.imap(cube, std::views::iota(0, 1000))) got.push_back(v);
    CHECK(got == p.map(cube, std::views::iota(0, 1000)));

    int read = 0;
    auto endless = std::views::iota(0) | std::views::transform([&read](int v) { return ++read, v; });
    {
      auto r = p.imap(same, endless, {.chunk = 1, .look_ahead = 10});
      for (int i = 0; i < 100; ++i) CHECK(r.get() == i);
      CHECK(read <= 111);
    }
    CHECK(read <= 111);

    auto short_one = p.imap_unordered(cube, std::vector{1, 2, 3});
    int sum = 0;
    for (int i = 0; i < 3; ++i) sum += short_one.get();
    CHECK(sum == 36);
    CHECK_ERRC(short_one.get(), closed);

    auto with_errors = p.imap(sometimes_throws, numbers(10));
    for (int i = 0; i < 7; ++i) CHECK(with_errors.get() == i);
    CHECK_THROWS_AS(with_errors.get(), std::out_of_range);
    CHECK(with_errors.get() == 8);
    auto none = p.imap(nothing, numbers(3));
    for (int i = 0; i < 3; ++i) none.get();
    CHECK_FALSE(p.imap(until_stopped, numbers(1)).get_for(1ms));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: outcomes hold errors as values", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    int good = 0;
    for (auto& o : p.outcomes(sometimes_throws, numbers(20))) {
      if (o) {
        CHECK(*o == static_cast<int>(o.index));
        ++good;
      } else {
        REQUIRE(o.failure());
        CHECK(o.failure()->what == "no " + std::to_string(o.index));
        CHECK_FALSE(o.post_mortem());
        CHECK(o.code() == mp::errc::task_threw);
        CHECK_THROWS_AS(std::move(o).value(), std::out_of_range);
      }
    }
    CHECK(good == 18);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: what a task throws arrives as the same type, and its worker lives", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    const pid_t worker = p.apply(who, 0);
    CHECK_THROWS_AS(p.apply(sometimes_throws, 7), std::out_of_range);
    try {
      p.apply(sometimes_throws, 17);
      FAIL("nothing was thrown");
    } catch (const mp::remote_error& e) {
      CHECK(e.failure().what == "no 17");
      CHECK(e.worker() == "pool worker 1");
      CHECK(e.attempt() == 1);
      CHECK(e.task() != 0);
      CHECK_THAT(e.failure().backtrace, contains("sometimes_throws"));
    }
    // No fail-fast: all items run, the first error by position is thrown.
    try {
      p.map(sometimes_throws, numbers(30));
      FAIL("nothing was thrown");
    } catch (const std::out_of_range& e) {
      CHECK(std::string(e.what()) == "no 7");
    }
    CHECK(p.apply(who, 0) == worker);
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an input that throws is an error once what was read has ended", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const auto in = numbers(20);
    auto bad = in | std::views::transform([](int v) {
                 if (v == 10) throw std::domain_error("input");
                 return v;
               });
    CHECK_THROWS_AS(p.map(same, bad), std::domain_error);
    CHECK_THROWS_AS(p.map(same, bad, {.chunk = 4}), std::domain_error);
    CHECK_THROWS_AS(p.map_async(same, bad).get(), std::domain_error);
    auto r = p.imap(same, bad, {.chunk = 1});
    for (int i = 0; i < 10; ++i) CHECK(r.get() == i);
    CHECK_THROWS_AS(r.get(), std::domain_error);
    CHECK_ERRC(r.get(), closed);
    CHECK(p.apply(cube, 2) == 8);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: broadcast runs once on each worker", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 3, .name = "crew"});
    auto names = p.broadcast(my_name);
    CHECK(names == std::vector<std::string>{"crew worker 1", "crew worker 2", "crew worker 3"});
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: workers may have pools of their own", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK(p.map(nested_sum, {3, 4}) == std::vector{9, 36});
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: forkserver and spawn mean the same", "[pool]") {
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    mp::pool p({.workers = 2, .start_method = method});
    CHECK(p.map(cube, {1, 2, 3}) == std::vector{1, 8, 27});
    CHECK(death_in([&] { return p.apply(end_worker, end::kill); }).status.signal() == SIGKILL);
    CHECK(p.apply(cube, 2) == 8);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task knows itself", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    CHECK(mp::this_task::id() == 0);
    CHECK(mp::this_task::attempt() == 1);
    auto f = p.submit({.deadline = 1min, .key = "k"}, about_me);
    const auto id = f.id();
    CHECK(f.get() == std::to_string(id) + " 1 k 1");
    CHECK_THAT(p.apply(about_me), mp_test::contains(" 1  0"));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: futures take continuations, tokens, and can be waited for together", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK(p.submit(cube, 2).then([](int v) { return v + 1; }).get() == 9);
    auto as_std = p.submit(cube, 3).async_get(boost::asio::use_future);
    REQUIRE(as_std.wait_for(patience) == std::future_status::ready);
    CHECK(as_std.get() == 27);
    auto all = mp::when_all(p.submit(cube, 1), p.submit(joined, "x", 2));
    CHECK(all.get() == std::tuple(1, std::string("x2")));
    std::vector<mp::future<int>> some;
    for (int i = 0; i < 20; ++i) some.push_back(p.submit(cube, i));
    int sum = 0;
    for (auto& f : mp::as_completed(some)) sum += f.get();
    CHECK(sum == 36100);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: many threads may submit and wait", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::vector<std::thread> threads;
    std::atomic<int> good{0};
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&p, &good, t] {
        for (int i = 0; i < 300; ++i)
          if (p.apply(add, t, i) == t + i) ++good;
        if (p.map(same, numbers(500)) == numbers(500)) ++good;
      });
    for (auto& t : threads) t.join();
    CHECK(good == 4 * 301);
  }
  CHECK_CLEAN(ledger);
}
