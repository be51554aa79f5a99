// Several futures as one: when_all, when_any, as_completed.

#include "mp/future.hpp"

#include "future_rig.hpp"
#include "support/catch.hpp"
#include "support/patience.hpp"

#include <chrono>
#include <string>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

TEST_CASE("when_all: all values, or the first error by position once all have ended", "[future][unit]") {
  promise<int> a;
  promise<void> b;
  promise<std::string> c;
  auto all = mp::when_all(future_of(a), future_of(b), future_of(c));
  c.set_value("x");
  b.set_value();
  CHECK_FALSE(all.ready());
  a.set_value(1);
  CHECK(all.get() == std::tuple{1, std::monostate{}, std::string("x")});

  std::vector<promise<int>> many(3);
  std::vector<mp::future<int>> futures;
  for (auto& p : many) futures.push_back(future_of(p));
  auto vector = mp::when_all(std::move(futures));
  many[2].set_error(problem("third"));
  many[1].set_error(problem("second"));
  CHECK_FALSE(vector.ready());
  many[0].set_value(0);
  CHECK_THROWS_WITH(vector.get(), "second");
  CHECK(mp::when_all(std::vector<mp::future<int>>{}).get().empty());
  CHECK_ERRC(mp::when_all(mp::future<int>(), future_of(promise<int>())), closed);
}

TEST_CASE("when_all: a wait whose limit passes gives nothing as long as one answer is missing", "[future][unit]") {
  promise<int> a, b;
  auto all = mp::when_all(future_of(a), future_of(b));
  CHECK_FALSE(all.wait_for(2ms));
  a.set_value(1);
  CHECK_FALSE(all.wait_for(2ms));
  CHECK_FALSE(all.get_for(2ms));
  b.set_value(2);
  CHECK(all.wait_for(patience));
  CHECK(all.get_for(patience) == std::tuple{1, 2});
}

TEST_CASE("when_any: the futures come back with the one that is ready", "[future][unit]") {
  std::vector<promise<int>> many(3);
  std::vector<mp::future<int>> futures;
  for (auto& p : many) futures.push_back(future_of(p));
  auto any = mp::when_any(std::move(futures));
  CHECK_FALSE(any.ready());
  many[1].set_value(11);
  auto result = any.get();
  CHECK(result.index == 1);
  CHECK(result.futures.at(1).get() == 11);
  CHECK_FALSE(result.futures.at(0).ready());
  many[0].set_value(10);
  CHECK(result.futures.at(0).get() == 10);
  CHECK_ERRC(mp::when_any(std::vector<mp::future<int>>{}), invalid_argument);
}

TEST_CASE("when_any: where some are ready already, one of these is given at once", "[future][unit]") {
  for (std::size_t ready = 0; ready < 3; ++ready) {
    CAPTURE(ready);
    std::vector<promise<int>> many(3);
    std::vector<mp::future<int>> futures;
    for (auto& p : many) futures.push_back(future_of(p));
    many[ready].set_value(static_cast<int>(ready));
    auto any = mp::when_any(std::move(futures));
    CHECK(any.ready());
    auto result = any.get();
    CHECK(result.index == ready);
    CHECK(result.futures.at(ready).get() == static_cast<int>(ready));
    many[(ready + 1) % 3].set_value(9);
    CHECK(result.futures.at((ready + 1) % 3).get() == 9);
  }
  std::vector<promise<int>> both(2);
  std::vector<mp::future<int>> futures;
  for (auto& p : both) futures.push_back(future_of(p));
  both[0].set_error(problem("an error counts, too"));
  both[1].set_value(1);
  auto result = mp::when_any(std::move(futures)).get();
  CHECK(result.futures.at(result.index).ready());
  CHECK_THROWS_WITH(result.futures.at(0).get(), "an error counts, too");
  CHECK(result.futures.at(1).get() == 1);
}

TEST_CASE("as_completed: futures come in the order in which they end", "[future][unit]") {
  std::vector<promise<int>> many(3);
  std::vector<mp::future<int>> futures;
  for (auto& p : many) futures.push_back(future_of(p));
  many[2].set_value(2);
  std::vector<int> order;
  for (auto& f : mp::as_completed(futures)) {
    order.push_back(f.get());
    if (order.size() == 1) many[0].set_value(0);
    if (order.size() == 2) many[1].set_value(1);
  }
  CHECK(order == std::vector{2, 0, 1});
}
