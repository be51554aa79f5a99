// Async forms: any completion token, associated executors, cancellation, and what a bare callback may not do.

#include "mp/pipe.hpp"
#include "mp/queue.hpp"

#include "support/catch.hpp"
#include "support/patience.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <string>
#include <thread>
#include <vector>

namespace asio = boost::asio;
using mp_test::patience;
using namespace std::chrono_literals;

namespace {

const std::vector<mp::transport> transports{mp::transport::ring, mp::transport::socket, mp::transport::local};
mp::queue<std::string> queue(mp::transport t, std::ptrdiff_t maxsize = 0) {
  return mp::queue<std::string>(mp::queue_options{.maxsize = maxsize, .transport = t});
}
template <class T>
T now(std::future<T> f) {
  REQUIRE(f.wait_for(patience) == std::future_status::ready);
  return f.get();
}

}  // namespace

TEST_CASE("async: use_future gets the item, or throws the error", "[async][unit]") {
  for (const auto t : transports) {
    auto q = queue(t);
    auto coming = q.async_get(asio::use_future);
    q.put("hello");
    CHECK(now(std::move(coming)) == "hello");
    auto ending = q.async_get(asio::use_future);
    q.shutdown();
    REQUIRE(ending.wait_for(patience) == std::future_status::ready);
    try {
      ending.get();
      FAIL("nothing was thrown");
    } catch (const boost::system::system_error& e) {
      CHECK(e.code() == mp::errc::closed);
    }
  }
}

TEST_CASE("async: several gets under way are served in their order", "[async][unit]") {
  for (const auto t : transports) {
    auto q = queue(t);
    std::vector<std::future<std::string>> coming;
    for (int i = 0; i < 10; ++i) coming.push_back(q.async_get(asio::use_future));
    for (int i = 0; i < 10; ++i) q.put(std::to_string(i));
    for (int i = 0; i < 10; ++i) CHECK(now(std::move(coming[static_cast<std::size_t>(i)])) == std::to_string(i));
  }
}

TEST_CASE("async: several puts under way keep their order and wait for room", "[async][unit]") {
  for (const auto t : transports) {
    auto q = queue(t, 2);
    std::vector<std::future<void>> done;
    for (int i = 0; i < 10; ++i) done.push_back(q.async_put(std::to_string(i), asio::use_future));
    for (int i = 0; i < 10; ++i) CHECK(q.get_for(patience) == std::to_string(i));
    for (auto& d : done) CHECK(d.wait_for(patience) == std::future_status::ready);
  }
}

TEST_CASE("async: coroutines await gets and puts on their own executor", "[async][unit]") {
  for (const auto t : transports) {
    auto q = queue(t);
    asio::io_context context;
    const auto home = std::this_thread::get_id();
    auto result = asio::co_spawn(
        context,
        [&]() -> asio::awaitable<std::string> {
          co_await q.async_put("ping", asio::use_awaitable);
          auto first = co_await q.async_get(asio::use_awaitable);
          auto lazy = q.async_get(asio::deferred);  // nothing happens before it is awaited
          co_await q.async_put("pong", asio::use_awaitable);
          auto second = co_await std::move(lazy)(asio::use_awaitable);
          co_return std::this_thread::get_id() == home ? first + second : "another thread";
        },
        asio::use_future);
    context.run_for(patience);  // ends when nothing is under way: the executor was kept busy until then
    CHECK(now(std::move(result)) == "pingpong");
  }
}

TEST_CASE("async: a coroutine sees closed as a system_error", "[async][unit]") {
  auto q = queue(mp::transport::ring);
  q.shutdown();
  asio::io_context context;
  auto result = asio::co_spawn(
      context,
      [&]() -> asio::awaitable<bool> {
        try {
          co_await q.async_get(asio::use_awaitable);
        } catch (const boost::system::system_error& e) {
          co_return e.code() == mp::errc::closed;
        }
        co_return false;
      },
      asio::use_future);
  context.run_for(patience);
  CHECK(now(std::move(result)));
}

TEST_CASE("async: a handler runs on the executor it is bound to", "[async][unit]") {
  auto q = queue(mp::transport::ring);
  asio::io_context context;
  std::thread::id ran_on;
  q.async_get(
      asio::bind_executor(context, [&](mp::error_code, const std::string&) { ran_on = std::this_thread::get_id(); }));
  q.put("x");
  context.run_for(patience);
  CHECK(ran_on == std::this_thread::get_id());
}

TEST_CASE("async: a cancelled get completes with operation_aborted and takes no item", "[async][unit]") {
  for (const auto t : transports) {
    auto q = queue(t);
    asio::io_context context;
    asio::cancellation_signal signal;
    mp::error_code seen;
    q.async_get(asio::bind_cancellation_slot(
        signal.slot(), asio::bind_executor(context, [&](mp::error_code ec, const std::string&) { seen = ec; })));
    signal.emit(asio::cancellation_type::total);
    context.run_for(patience);
    CHECK(seen == asio::error::operation_aborted);
    q.put("still here");
    CHECK(q.get_for(patience) == "still here");
    signal.emit(asio::cancellation_type::total);  // too late, and harmless
  }
}

TEST_CASE("async: a cancelled put puts nothing", "[async][unit]") {
  for (const auto t : transports) {
    auto q = queue(t, 1);
    q.put("first");
    asio::io_context context;
    asio::cancellation_signal signal;
    mp::error_code seen;
    q.async_put("second", asio::bind_cancellation_slot(
                              signal.slot(), asio::bind_executor(context, [&](mp::error_code ec) { seen = ec; })));
    signal.emit(asio::cancellation_type::terminal);
    context.run_for(patience);
    CHECK(seen == asio::error::operation_aborted);
    CHECK(q.get() == "first");
    CHECK(q.try_get() == std::nullopt);
  }
}

TEST_CASE("async: the one behind a cancelled get is served", "[async][unit]") {
  auto q = queue(mp::transport::ring);
  asio::io_context context;
  asio::cancellation_signal signal;
  q.async_get(asio::bind_cancellation_slot(signal.slot(),
                                           asio::bind_executor(context, [](mp::error_code, const std::string&) {})));
  auto second = q.async_get(asio::use_future);
  signal.emit(asio::cancellation_type::terminal);
  q.put("for the second");
  CHECK(now(std::move(second)) == "for the second");
}

TEST_CASE("async: a get loses against a timer and can be tried again", "[async][unit]") {
  using namespace asio::experimental::awaitable_operators;
  auto q = queue(mp::transport::ring);
  asio::io_context context;
  auto result = asio::co_spawn(
      context,
      [&]() -> asio::awaitable<std::string> {
        asio::steady_timer timer(context, 1ms);
        const auto first = co_await (q.async_get(asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
        if (first.index() != 1) co_return "no time-out";
        q.put("later");
        co_return co_await q.async_get(asio::use_awaitable);
      },
      asio::use_future);
  context.run_for(patience);
  CHECK(now(std::move(result)) == "later");
}

TEST_CASE("async: a call that would wait inside a bare callback throws would_deadlock", "[async][unit]") {
  auto q = queue(mp::transport::ring);
  auto empty = mp::queue<int>();
  const mp::queue<std::string> told(mp::queue_options{.transport = mp::transport::local});
  q.async_get([empty, told](mp::error_code, const std::string&) {
    std::string report;
    try {
      static_cast<void>(empty.get());
    } catch (const mp::error& e) {
      report = e.code() == mp::errc::would_deadlock ? "would_deadlock" : e.what();
    }
    report += empty.try_get() ? "?" : " but try_get is fine";
    told.put(report);  // there is room, so nothing waits
  });
  q.put("go");
  CHECK(told.get_for(patience) == "would_deadlock but try_get is fine");
}

TEST_CASE("async: what a bare callback throws does not end the I/O thread", "[async][unit]") {
  auto q = queue(mp::transport::ring);
  q.async_get([](mp::error_code, const std::string&) { throw std::runtime_error("on purpose, by a test"); });
  q.put("x");
  auto next = q.async_get(asio::use_future);
  q.put("y");
  CHECK(now(std::move(next)) == "y");
}

TEST_CASE("async: an operation keeps its end open when the handle goes", "[async][unit]") {
  auto ends = mp::pipe<int>();
  auto coming = ends.receiver.async_get(asio::use_future);
  ends.receiver.close();
  ends.sender.put(4);
  CHECK(now(std::move(coming)) == 4);
}

TEST_CASE("async: a closed handle throws closed where the form is called", "[async][unit]") {
  mp::queue<int> q;
  q.close();
  CHECK_ERRC(q.async_get(asio::detached), closed);
  CHECK_ERRC(q.async_put(1, asio::detached), closed);
}
