// mp::future without a pool: the answer comes from a promise of this process.

#include "mp/future.hpp"

#include "future_rig.hpp"
#include "support/catch.hpp"
#include "support/patience.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

namespace asio = boost::asio;
using namespace mp_test;
using namespace std::chrono_literals;

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

TEST_CASE("future: a wait whose limit passes gives nothing, and the answer or the error can be taken later",
          "[future][unit]") {
  promise<int> p, failing;
  promise<void> done;
  auto value = future_of(p), error = future_of(failing);
  auto nothing = future_of(done);
  for (const mp::duration limit : {mp::duration(-1s), mp::duration(0ms), mp::duration(2ms)}) {
    CHECK_FALSE(value.wait_for(limit));
    CHECK_FALSE(value.get_for(limit));
    CHECK_FALSE(error.wait_for(limit));
    CHECK_FALSE(error.get_for(limit));
    CHECK_FALSE(nothing.get_for(limit));
  }
  CHECK_FALSE(value.wait_until(std::chrono::steady_clock::now() + 2ms));
  CHECK_FALSE(value.get_until(std::chrono::steady_clock::now() + 2ms));
  CHECK(value.valid());
  CHECK_FALSE(value.ready());

  std::thread answers([&] {
    p.set_value(7);
    failing.set_error(problem("late"));
    done.set_value();
  });
  CHECK(value.wait_for(patience));
  CHECK(value.get_for(patience) == 7);
  CHECK(error.wait_for(patience));
  CHECK_THROWS_WITH(error.get_for(patience), "late");
  CHECK(nothing.get_for(patience));
  answers.join();
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

TEST_CASE("future: a continuation or a handler that comes after the answer gets the answer, the error or the end",
          "[future][unit]") {
  const auto successful = [] {
    promise<int> p;
    p.set_value(5);
    return future_of(p);
  };
  const auto failed = [] {
    promise<int> p;
    p.set_error(problem("before"));
    return future_of(p);
  };
  const auto stopped = [] {
    auto f = future_access::make<int>(mp::detail::make_state<cancellable>());
    f.cancel();
    return f;
  };
  std::atomic<int> ran{0};
  const auto counts = [&ran](int v) { return ++ran, v + 1; };
  CHECK(successful().then(counts).get() == 6);
  CHECK(ran == 1);
  CHECK_THROWS_WITH(failed().then(counts).get(), "before");
  CHECK_ERRC(stopped().then(counts).get(), cancelled);
  CHECK(ran == 1);  // errors pass it by
  asio::io_context context;
  auto elsewhere = successful().then(context.get_executor(), counts);
  CHECK_FALSE(elsewhere.ready());  // never from within then
  context.run();
  CHECK(elsewhere.get() == 6);

  CHECK(successful().async_get(asio::use_future).get() == 5);
  CHECK_THROWS_WITH(failed().async_get(asio::use_future).get(), "before");
  CHECK_ERRC(stopped().async_get(asio::use_future).get(), cancelled);
}

TEST_CASE("future: a callback that throws harms no other callback, also when it comes after the answer",
          "[future][unit]") {
  for (const bool answered_before : {true, false}) {
    CAPTURE(answered_before);
    promise<int> a, b, c;
    const auto answer = [&] {
      a.set_value(1);
      b.set_value(2);
      c.set_value(3);
    };
    if (answered_before) answer();
    auto thrown = future_of(a).then([](int) -> int { throw std::out_of_range("in the continuation"); });
    future_of(b).async_get([](std::exception_ptr, int) { throw std::range_error("in a test's bare callback"); });
    auto next = future_of(c).async_get(asio::use_future);
    if (!answered_before) answer();
    CHECK_THROWS_AS(thrown.get(), std::out_of_range);
    REQUIRE(next.wait_for(patience) == std::future_status::ready);
    CHECK(next.get() == 3);
  }
}
