// Tasks that take and return spans: what is a part of large arguments stays where it lies, and imap shows it there.

#include "pool_tasks.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <ranges>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using namespace mp_test;

namespace {

constexpr std::size_t many = 100'000;  // doubles: large arguments
constexpr std::size_t few = 100;

std::span<double> twice(std::span<double> v) {
  for (double& x : v) x *= 2;
  return v;
}
std::span<const double> middle(std::span<const double> v) { return v.subspan(v.size() / 4, v.size() / 2); }
std::span<const int> constant(std::span<const int>) {
  static const std::vector<int> of_its_own(many, 7);
  return of_its_own;
}
std::span<const double> none_of_it(std::span<const double> v) { return v.first(0); }
// Not aligned behind the character, so the task sees a copy.
std::span<double> behind(char c, std::span<double> v) {
  for (double& x : v) x += c;
  return v;
}
std::span<double> named(const std::string& how, std::span<double> v) {
  for (double& x : v) x = -x;
  if (how == "throw") throw std::runtime_error("no span");
  if (how == "die") end_by(end::kill);
  return v;
}
std::span<const double> third_fails(std::span<const double> v) {
  if (v[0] == 2) throw std::out_of_range("the third");
  return v;
}
// The first attempt dies with all of it changed.
std::span<double> second_time(std::span<double> v) {
  twice(v);
  if (mp::this_task::attempt() == 1) end_by(end::kill);
  return v;
}
std::span<double, 3> three(std::span<double, 3> v) {
  v[0] = 1;
  return v;
}

std::vector<double> numbers(std::size_t n, int first = 0) {
  std::vector<double> v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}
auto inputs(int count, std::size_t n) {
  return std::views::iota(0, count) | std::views::transform([n](int i) { return numbers(n, i); });
}
template <class E>
std::vector<std::remove_const_t<E>> copy_of(std::span<E> v) {
  return {v.begin(), v.end()};
}
std::vector<double> doubled(std::vector<double> v) {
  twice(v);
  return v;
}

}  // namespace

TEST_CASE("pool spans: imap shows what the task returned, in order, large and small", "[pool][spans]") {
  mp::pool pool(2);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, few, many, 3 * many}) {
    auto all = pool.imap(twice, inputs(12, n));
    STATIC_REQUIRE(std::is_same_v<decltype(all.get()), std::span<double>>);
    int i = 0;
    for (const std::span<double> v : all) CHECK(copy_of(v) == doubled(numbers(n, i++)));
    CHECK(i == 12);
  }
  int sum = 0;
  for (const std::span<double> v : pool.imap_unordered(twice, inputs(12, many))) {
    CHECK(v[1] == v[0] + 2);
    sum += static_cast<int>(v[0]) / 2;
  }
  CHECK(sum == 66);
}

TEST_CASE("pool spans: a part of the arguments, nothing, and what lies elsewhere", "[pool][spans]") {
  mp::pool pool(2);
  for (const std::size_t n : {few, many}) {
    for (const std::span<const double> v : pool.imap(middle, inputs(3, n))) {
      CHECK(v.size() == n / 2);
      CHECK(v[1] == v[0] + 1);
    }
    for (const std::span<const double> v : pool.imap(none_of_it, inputs(3, n))) CHECK(v.empty());
    for (const std::span<const int> v : pool.imap(constant, std::vector(3, std::vector<int>(n)))) {
      CHECK(v.size() == many);
      CHECK(v.back() == 7);
    }
  }
  for (const std::span<double, 3> v : pool.imap(three, std::vector(2, std::vector<double>{5, 6, 7}))) CHECK(v[0] == 1);
}

TEST_CASE("pool spans: what a consumer does with one item changes no other", "[pool][spans]") {
  mp::pool pool(2);
  const auto in = numbers(many);
  auto all = pool.imap(twice, std::views::iota(0, 20) | std::views::transform([&](int) -> const auto& { return in; }));
  std::vector<double> last;
  for (int i = 0; i < 20; ++i) {
    const std::span<double> v = all.get();
    REQUIRE(copy_of(v) == doubled(in));
    // It stays while others come and go.
    CHECK(pool.apply(twice, in) == doubled(in));
    CHECK(copy_of(v) == doubled(in));
    std::fill(v.begin(), v.end(), -1.0);
  }
  CHECK_THROWS_AS(all.get(), mp::error);
  CHECK(in == numbers(many));
}

TEST_CASE("pool spans: calls that keep their results give vectors", "[pool][spans]") {
  mp::pool pool(2);
  for (const std::size_t n : {few, many}) {
    const auto in = numbers(n);
    auto one = pool.submit(twice, in);
    STATIC_REQUIRE(std::is_same_v<decltype(one), mp::future<std::vector<double>>>);
    CHECK(one.get() == doubled(in));
    CHECK(pool.apply(middle, std::span(in)).size() == n / 2);
    CHECK(pool.map(twice, inputs(5, n)).at(4) == doubled(numbers(n, 4)));
    CHECK(pool.map_async(twice, inputs(5, n)).get().at(3) == doubled(numbers(n, 3)));
    const std::vector<std::tuple<char, std::vector<double>>> behind_one(3, {'\1', in});
    CHECK(pool.starmap(behind, behind_one).at(2).front() == 1);
    CHECK(pool.broadcast(twice, in) == std::vector(2, doubled(in)));
    int good = 0;
    for (auto& o : pool.outcomes(twice, inputs(4, n))) good += *o == doubled(numbers(n, static_cast<int>(o.index)));
    CHECK(good == 4);
    CHECK(in == numbers(n));
  }
}

TEST_CASE("pool spans: errors come in their place", "[pool][spans]") {
  mp::pool pool({.workers = 2, .restart = {.intensity = 100, .back_off = {.first = std::chrono::milliseconds(1)}}});
  for (const std::string how : {"throw", "die"}) {
    auto bad = pool.submit(named, how, numbers(many));
    CHECK(pool.apply(named, std::string("return"), numbers(many)).at(1) == -1);
    if (how == "die")
      CHECK_THROWS_AS(bad.get(), mp::worker_died);
    else
      CHECK_THROWS_AS(bad.get(), std::runtime_error);
  }
  auto all = pool.imap(third_fails, inputs(5, many));
  auto it = all.begin();
  for (int i = 0; i < 5; ++i, ++it) {
    if (i == 2)
      CHECK_THROWS_AS(*it, std::out_of_range);
    else
      CHECK((*it)[0] == i);
  }
  CHECK(it == std::default_sentinel);
}

TEST_CASE("pool spans: an attempt that died has changed nothing for the next one", "[pool][spans]") {
  mp::pool pool({.workers = 2, .restart = {.intensity = 100, .back_off = {.first = std::chrono::milliseconds(1)}}});
  const mp::task_options again{.retry = {.attempts = 2, .idempotent = true}};
  for (const std::size_t n : {few, many})
    CHECK(pool.submit(again, second_time, numbers(n)).get() == doubled(numbers(n)));
}

TEST_CASE("pool spans: results that are dropped, and that outlive their pool", "[pool][spans]") {
  const fd_ledger ledger(true);  // the pool before may be on its way out
  {
    mp::pool pool(2);
    {
      auto early = pool.imap(twice, inputs(50, many));
      CHECK(early.get()[1] == 2);
    }
    auto late = pool.imap(twice, inputs(2, many), {.look_ahead = 2});
    const std::span<double> v = late.get();
    pool.close();
    pool.join();
    { const mp::pool gone(std::move(pool)); }
    CHECK(copy_of(v) == doubled(numbers(many)));
    // The second was perhaps not read when the pool ended.
    try {
      CHECK(copy_of(late.get()) == doubled(numbers(many, 1)));
    } catch (const mp::error& e) {
      CHECK(e.code() == mp::errc::cancelled);
    }
  }
  CHECK_CLEAN(ledger);
}
