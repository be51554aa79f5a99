// mp::pool: who waits otherwise than by get: coroutines, callbacks, mp::wait. And where the user's own code runs.

#include "mp/detail/async.hpp"
#include "mp/queue.hpp"
#include "mp/wait.hpp"
#include "pool_tasks.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <ranges>
#include <thread>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

// Its decoding asks the pool something, as a hook that logs or counts might.
struct curious : std::runtime_error {
  explicit curious(int n) : std::runtime_error("curious " + std::to_string(n)), number(n) {}
  int number;
};
mp::pool* asked = nullptr;
std::atomic<int> asked_times{0};
int throw_curious(int n) { throw curious(n); }
int first_of(mp::queue<int> q, int x) {
  q.get();
  return x;
}
// Of different sizes: memory that fits is used again, other memory is not.
std::vector<double> filled(int n) { return std::vector<double>(static_cast<std::size_t>(1000 + n % 5 * 20000), n); }
struct gated {
  mp::queue<int> gate;
  int operator()(int x) const { return first_of(gate, x); }
};

}  // namespace
template <>
struct mp::codec<curious> {
  static int encode(const curious& c) { return c.number; }
  static curious decode(int n) {
    if (asked) {
      static_cast<void>(asked->stats());
      ++asked_times;
    }
    return curious(n);
  }
};
namespace {

const mp::exception_hook<curious> hook;

int throws_after(mp::queue<int> q, int x) {
  q.get();
  throw std::out_of_range("no " + std::to_string(x));
}
int reports_and_waits(int x) {
  mp::this_task::progress(1, 2);
  return until_stopped(mp::this_task::stop_token(), x);
}

asio::awaitable<void> sum_all(mp::results<int>& results, long& sum, int& errors, mp::errc& end) {
  for (;;) {
    try {
      sum += co_await results.async_get(asio::use_awaitable);
    } catch (const std::out_of_range&) {
      ++errors;
    } catch (const mp::error& e) {
      end = static_cast<mp::errc>(e.code().value());
      co_return;
    }
  }
}

}  // namespace

TEST_CASE("pool: results are awaited one by one, errors in their place, closed at the end", "[pool][async]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const bool ordered : {true, false}) {
      auto results = ordered ? p.imap(sometimes_throws, std::views::iota(0, 1000))
                             : p.imap_unordered(sometimes_throws, std::views::iota(0, 1000));
      asio::io_context context;
      long sum = 0;
      int errors = 0;
      mp::errc end{};
      asio::co_spawn(context, sum_all(results, sum, errors, end), asio::detached);
      context.run();
      long expected = 0;
      for (int i = 0; i < 1000; ++i) expected += i % 10 == 7 ? 0 : i;
      CHECK(sum == expected);
      CHECK(errors == 100);
      CHECK(end == mp::errc::closed);
    }
    auto none = p.imap(cube, std::vector<int>{});
    CHECK_ERRC(none.async_get(asio::use_future).get(), closed);
    auto some = p.outcomes(sometimes_throws, std::vector<int>{7});
    const auto o = some.async_get(asio::use_future).get();
    CHECK_FALSE(o);
    CHECK(o.failure() != nullptr);
    auto mixed = p.imap(cube, std::views::iota(0, 4));
    CHECK(mixed.async_get(asio::use_future).get() == 0);
    CHECK(mixed.get() == 1);
    CHECK(mixed.async_get(asio::use_future).get() == 8);
    CHECK(mixed.get_for(patience) == 27);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an awaited result that is given up takes nothing, one whose range goes is cancelled",
          "[pool][async]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    mp::queue<int> gate;
    std::promise<std::exception_ptr> given_up;
    asio::cancellation_signal signal;
    auto results = p.imap(gated{gate}, std::vector{5, 6});
    results.async_get(asio::bind_cancellation_slot(
        signal.slot(), [&](std::exception_ptr problem, int) { given_up.set_value(std::move(problem)); }));
    wait_until_running(p);
    signal.emit(asio::cancellation_type::terminal);
    CHECK_ERRC(std::rethrow_exception(given_up.get_future().get()), cancelled);
    gate.put(1);
    CHECK(results.get() == 5);
    std::future<int> last = results.async_get(asio::use_future);
    wait_until_running(p);
    { const auto gone = std::move(results); }
    CHECK_THROWS_AS(last.get(), mp::error);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a future's limit passes while its task runs, and its answer or its error comes later",
          "[pool][wait]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (int round = 0; round < 5; ++round) {
      mp::queue<int> for_value, for_error;
      auto value = p.submit(first_of, for_value, 7);
      auto error = p.submit(throws_after, for_error, 7);
      auto queued = p.map_async(cube, numbers(10));  // behind both
      wait_until_running(p, 2);
      CHECK_FALSE(value.wait_for(1ms));
      CHECK_FALSE(value.get_for(1ms));
      CHECK_FALSE(value.get_until(std::chrono::steady_clock::now() + 1ms));
      CHECK_FALSE(error.wait_for(0ms));
      CHECK_FALSE(error.get_for(1ms));
      CHECK_FALSE(queued.get_for(1ms));
      CHECK(value.valid());
      for_value.put(0);
      CHECK(value.get_for(patience) == 7);
      for_error.put(0);
      CHECK_THROWS_AS(error.get_for(patience), std::out_of_range);
      CHECK(queued.get_for(patience).value_or(std::vector<int>{}).size() == 10);
    }
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: mp::wait takes futures beside queues and processes", "[pool][wait]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    mp::queue<int> first, second, other;
    auto a = p.submit(first_of, first, 1);
    auto b = p.submit(first_of, second, 2);
    CHECK(mp::try_wait(a, b, other).empty());
    CHECK(mp::wait_for(1ms, a, b, other).empty());
    second.put(0);
    CHECK(mp::wait(a, b, other) == std::vector<std::size_t>{1});
    CHECK(mp::wait(a, b, other) == std::vector<std::size_t>{1});  // as long as nobody takes it
    CHECK(b.get() == 2);
    CHECK_ERRC(mp::wait(b), closed);
    other.put(0);
    CHECK(mp::wait(a, other) == std::vector<std::size_t>{1});
    std::vector<mp::future<int>> many;
    for (int i = 0; i < 20; ++i) many.push_back(p.submit(cube, i));
    for (std::size_t seen = 0; seen < many.size();) {
      const std::vector<mp::waitable> all(many.begin(), many.end());
      seen = mp::wait(std::span<const mp::waitable>(all)).size();
    }
    for (int i = 0; i < 20; ++i) CHECK(many[static_cast<std::size_t>(i)].get() == i * i * i);
    // Dropped while somebody has waited for it before: nothing is left behind.
    { const auto dropped = std::move(a); }
    first.put(0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an exception's hook runs where the answer is taken, and may ask the pool", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    asked = &p;
    asked_times = 0;
    CHECK_THROWS_AS(p.apply(throw_curious, 1), curious);
    CHECK_THROWS_AS(p.map(throw_curious, numbers(10)), curious);
    auto lazy = p.imap(throw_curious, numbers(3));
    CHECK_THROWS_AS(lazy.get(), curious);
    std::size_t failures = 0;
    for (auto& o : p.outcomes(throw_curious, numbers(5))) failures += o.failure() != nullptr;
    CHECK(failures == 5);
    try {
      p.submit(throw_curious, 4).then([](int) {}).get();
      FAIL("nothing was thrown");
    } catch (const curious& c) {
      CHECK(c.number == 4);
    }
    CHECK(asked_times == 1 + 1 + 1 + 5 + 1);
    asked = nullptr;
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: large results of an imap are whole, though their memory is used again", "[pool]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    constexpr int many = 40;
    for (const bool ordered : {true, false}) {
      auto results =
          ordered ? p.imap(filled, std::views::iota(0, many)) : p.imap_unordered(filled, std::views::iota(0, many));
      std::vector<std::vector<double>> kept;
      int seen = 0, wrong = 0, sum = 0;
      for (auto& v : results) {
        const int n = static_cast<int>(v.at(0));
        sum += n;
        wrong += v != filled(n);
        if (n % 3 == 0) kept.push_back(std::move(v));
        ++seen;
      }
      CHECK(seen == many);
      CHECK(sum == many * (many - 1) / 2);
      CHECK(wrong == 0);
      for (const auto& v : kept) wrong += v != filled(static_cast<int>(v.at(0)));
      CHECK(wrong == 0);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: callbacks run on the executor of its options, otherwise on the I/O thread", "[pool][async]") {
  const fd_ledger ledger;
  {
    std::promise<std::thread::id> io_thread;
    mp::detail::post_to(mp::detail::io_thread_ref(), [&] { io_thread.set_value(std::this_thread::get_id()); });
    const std::thread::id io = io_thread.get_future().get();
    asio::io_context context;
    auto work = asio::make_work_guard(context);
    std::jthread runs([&] { context.run(); });
    const std::thread::id mine = runs.get_id();
    const std::pair<mp::callback_executor, std::thread::id> rows[] = {
        {{}, io},
        {asio::any_io_executor(), io},  // holds nothing: the same as none
        {context.get_executor(), mine},
        {asio::any_io_executor(context.get_executor()), mine},
    };
    for (const auto& row : rows) {
      std::promise<std::thread::id> on_exit, on_progress;
      bool exited = false, told = false;
      mp::pool p({.workers = 1,
                  .on_worker_exit =
                      [&](const mp::worker_exit&) {
                        if (!std::exchange(exited, true)) on_exit.set_value(std::this_thread::get_id());
                      },
                  .executor = row.first});
      auto f = p.submit({.on_progress =
                             [&](const mp::progress_report&) {
                               if (!std::exchange(told, true)) on_progress.set_value(std::this_thread::get_id());
                             }},
                        reports_and_waits, 3);
      auto where = on_progress.get_future();
      REQUIRE(where.wait_for(patience) == std::future_status::ready);
      CHECK(where.get() == row.second);
      f.cancel();
      CHECK(f.get() == 3);
      CHECK_THROWS_AS(p.apply(end_worker, end::kill), mp::worker_died);
      where = on_exit.get_future();
      REQUIRE(where.wait_for(patience) == std::future_status::ready);
      CHECK(where.get() == row.second);
      p.close();
      p.join();
      std::promise<void> last;  // the callbacks that join does not wait for are through when this is
      asio::post(context, [&] { last.set_value(); });
      REQUIRE(last.get_future().wait_for(patience) == std::future_status::ready);
    }
    work.reset();
  }
  CHECK_CLEAN(ledger);
}
