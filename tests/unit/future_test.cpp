// mp::future without a pool: the answer comes from a promise of this process.

#include "mp/future.hpp"

#include "support/catch.hpp"
#include "support/patience.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <stdexcept>
#include <string>
#include <thread>

namespace asio = boost::asio;
using mp::detail::future_access;
using mp::detail::promise;
using mp_test::patience;
using namespace std::chrono_literals;

namespace {

template <class R>
mp::future<R> future_of(const promise<R>& p) {
  return future_access::make<R>(p.state());
}
std::exception_ptr problem(const char* text) { return std::make_exception_ptr(std::runtime_error(text)); }

class cancellable final : public mp::detail::future_state<int> {
public:
  bool cancel() override {
    return set_error(std::make_exception_ptr(mp::error(mp::errc::cancelled, "stopped on request")));
  }
};

}  // namespace

TEST_CASE("future: the answer is taken once", "[future][unit]") {
  promise<int> p;
  auto f = future_of(p);
  CHECK(f.valid());
  CHECK_FALSE(f.ready());
  CHECK_FALSE(f.try_get());
  CHECK_FALSE(f.get_for(1ms));
  CHECK_FALSE(f.wait_for(0ms));
  CHECK(p.set_value(7));
  CHECK_FALSE(p.set_value(8));
  CHECK_FALSE(p.set_error(problem("late")));
  CHECK(f.ready());
  CHECK(f.wait_for(patience));
  CHECK(f.get() == 7);
  CHECK_FALSE(f.valid());
  CHECK_ERRC(f.get(), closed);
  CHECK_ERRC(f.ready(), closed);
  CHECK_ERRC(mp::future<int>().wait(), closed);
}

TEST_CASE("future: an error is thrown where it is taken", "[future][unit]") {
  promise<void> p;
  auto f = future_of(p);
  CHECK_FALSE(f.try_get());
  p.set_error(problem("no"));
  CHECK_THROWS_WITH(f.get_for(patience), "no");
  CHECK_FALSE(f.valid());
}

TEST_CASE("future: whoever waits is woken by the answer", "[future][unit]") {
  for (int round = 0; round < 200; ++round) {
    promise<std::string> p;
    auto f = future_of(p);
    std::thread answers([&p] { p.set_value("here"); });
    CHECK(f.get() == "here");
    answers.join();
  }
}

TEST_CASE("future: an answer that never comes is an error, not a wait for ever", "[future][unit]") {
  mp::future<int> f;
  {
    promise<int> p;
    f = future_of(p);
  }
  CHECK_ERRC(f.get(), closed);
}

TEST_CASE("future: dropping it before or after the answer is harmless", "[future][unit]") {
  promise<int> before, after;
  static_cast<void>(future_of(before));
  CHECK(before.set_value(1));
  auto f = future_of(after);
  after.set_value(2);
  f = {};
  CHECK_FALSE(f.valid());
}

TEST_CASE("future: a continuation runs on the I/O thread or where it is told to, and errors pass it by",
          "[future][unit]") {
  promise<int> p, failing;
  bool on_io = false;
  auto next = future_of(p).then([&on_io](int v) {
    on_io = mp::detail::on_io_thread();
    return std::to_string(v + 1);
  });
  auto skipped = future_of(failing).then([](int) {}).then([] { return 1; });
  p.set_value(41);
  CHECK(next.get() == "42");
  CHECK(on_io);
  failing.set_error(problem("upstream"));
  CHECK_THROWS_WITH(skipped.get(), "upstream");

  promise<void> here;
  asio::io_context context;
  auto ran = future_of(here).then(context.get_executor(),
                                  [me = std::this_thread::get_id()] { return me == std::this_thread::get_id(); });
  here.set_value();
  CHECK_FALSE(ran.ready());
  context.run();
  CHECK(ran.get());
  promise<int> throwing;
  auto thrown = future_of(throwing).then([](int) -> int { throw std::out_of_range("in the continuation"); });
  throwing.set_value(0);
  CHECK_THROWS_AS(thrown.get(), std::out_of_range);
}

TEST_CASE("future: a get that would wait on the I/O thread is refused", "[future][unit]") {
  promise<int> p, never;
  auto never_comes = future_of(never);
  auto f = future_of(p).then([&](int) {
    return mp_test::errc_of([&] { return never_comes.get(); }) == mp::errc::would_deadlock && !never_comes.try_get();
  });
  p.set_value(0);
  CHECK(f.get());
}

TEST_CASE("future: any completion token takes the answer or the task's own exception", "[future][unit]") {
  promise<int> p, failing, awaited;
  auto as_std = future_of(p).async_get(asio::use_future);
  p.set_value(5);
  REQUIRE(as_std.wait_for(patience) == std::future_status::ready);
  CHECK(as_std.get() == 5);
  auto bad = future_of(failing).async_get(asio::use_future);
  failing.set_error(problem("its own"));
  CHECK_THROWS_WITH(bad.get(), "its own");

  asio::io_context context;
  int got = 0;
  asio::co_spawn(
      context, [&]() -> asio::awaitable<void> { got = co_await future_of(awaited).async_get(asio::use_awaitable); },
      [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
      });
  std::thread answers([&awaited] { awaited.set_value(9); });
  context.run();
  answers.join();
  CHECK(got == 9);
}

TEST_CASE("future: cancelling reaches the work, also through a continuation or a token", "[future][unit]") {
  const auto make = [] { return mp::detail::make_state<cancellable>(); };
  auto direct = future_access::make<int>(make());
  CHECK(direct.cancel());
  CHECK_FALSE(direct.cancel());
  CHECK_ERRC(direct.get(), cancelled);

  auto chained = future_access::make<int>(make()).then([](int v) { return v; });
  CHECK(chained.cancel());
  CHECK_ERRC(chained.get(), cancelled);

  asio::cancellation_signal stop;
  std::promise<std::exception_ptr> heard;
  future_access::make<int>(make()).async_get(
      asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, int) { heard.set_value(e); }));
  stop.emit(asio::cancellation_type::total);
  auto hearing = heard.get_future();
  REQUIRE(hearing.wait_for(patience) == std::future_status::ready);
  CHECK_THROWS_AS(std::rethrow_exception(hearing.get()), mp::error);
}

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
