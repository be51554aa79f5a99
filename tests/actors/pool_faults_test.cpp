// What else can go wrong with a pool: hooks that throw, tasks that are deaf to every signal or write where they should
// not, results on their way when their worker dies, starts that fail, programs that end with a pool in their hands.

#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "pool_tasks.hpp"
#include "support/sanitizers.hpp"

#include <sys/resource.h>
#include <atomic>
#include <cstring>
#include <memory>
#include <numeric>
#include <ranges>
#include <set>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

enum class deafness { spins, ignores_sigterm, blocks_all_signals };
int deaf(deafness how) {
  if (how == deafness::ignores_sigterm) ::signal(SIGTERM, SIG_IGN);
  if (how == deafness::blocks_all_signals) {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  }
  spin(0);
}

/// Writes over all that lies behind a block on the heap.
int scribble(std::size_t bytes) {
  std::vector<std::unique_ptr<std::string>> victims;
  for (int i = 0; i < 100; ++i) victims.push_back(std::make_unique<std::string>(100, 'v'));
  char* volatile wrong = victims.front()->data();
  std::memset(wrong, 0x5a, bytes);
  for (auto& v : victims) v = std::make_unique<std::string>(*v + "!");
  return 0;
}

/// Gives the number of instances that live where it runs.
class counted {
public:
  counted() { ++alive; }
  counted(const counted&) { ++alive; }
  counted& operator=(const counted&) = default;
  ~counted() { --alive; }
  static inline std::atomic<int> alive{0};
};
counted pass_on(const counted& c) { return c; }
int how_many(int) { return counted::alive; }

int told_by_initializer = 0;
void remember(int value) { told_by_initializer += value; }
int what_was_told(int) { return told_by_initializer; }

std::string large_error(int size) { throw std::runtime_error(std::string(static_cast<std::size_t>(size), 'e')); }
int say_and_die(mp::queue<int> q) {
  q.put(1);
  end_by(end::kill);
}
constexpr std::size_t large = std::size_t{64} << 20;  // does not fit into any ring at once
std::vector<char> large_answer(mp::queue<int> q) {
  std::vector<char> answer(large, 'x');
  q.put(1);
  return answer;
}

void end_with_a_pool(int how) {
  static mp::pool p(2);
  if (p.apply(cube, 2) != 8) ::_exit(9);
  static_cast<void>(p.submit(hang, 0));
  if (how == 1) std::exit(0);
  if (how == 2) mp::this_process::exit(0);
}

}  // namespace

template <>
struct mp::codec<counted> {
  static int encode(const counted&) { return 0; }
  static counted decode(int) { return {}; }
};

TEST_CASE("pool: hooks and callbacks may throw and may submit; the pool goes on", "[pool][faults]") {
  const fd_ledger ledger;
  {
    std::atomic<int> exits{0}, reports{0};
    mp::pool p({.workers = 1, .on_worker_exit = [&](const mp::worker_exit&) {
                  ++exits;
                  throw std::runtime_error("in on_worker_exit");
                }});
    auto thrown = p.submit(cube, 2).then([](int) -> int { throw std::range_error("in then"); });
    CHECK_THROWS_AS(thrown.get(), std::range_error);
    auto f = p.submit(
        {.on_progress =
             [&](const mp::progress_report&) {
               ++reports;
               throw std::runtime_error("in on_progress");
             }},
        [](std::stop_token stop, int x) {
          mp::this_task::progress(1, 2);
          return until_stopped(stop, x);
        },
        4);
    REQUIRE(eventually([&] { return reports > 0; }));
    f.cancel();
    CHECK(f.get() == 4);
    CHECK(death_in([&] { return p.apply(end_worker, end::kill); }).status.signal() == SIGKILL);
    REQUIRE(eventually([&] { return exits == 1; }));
    // A callback may give the pool more to do, as long as it does not wait for it.
    auto next = p.submit(cube, 2).then([&p](int v) { return p.submit(cube, v); });
    CHECK(next.get().get() == 512);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: whoever waits by a callback gets the answer or the error, once", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::atomic<int> answers{0}, errors{0};
    for (int i = 0; i < 20; ++i)
      p.submit(sometimes_throws, i).async_get([&, i](std::exception_ptr problem, int v) {
        if (!problem) answers += v == i;
        try {
          if (problem) std::rethrow_exception(problem);
        } catch (const std::out_of_range&) {
          ++errors;
        }
      });
    REQUIRE(eventually([&] { return answers + errors == 20; }));
    CHECK(errors == 2);
    std::atomic<bool> in_order{false};
    p.map_async(cube, numbers(100)).async_get([&](std::exception_ptr problem, const std::vector<int>& all) {
      in_order = !problem && all.at(99) == 970299;
    });
    REQUIRE(eventually([&] { return in_order.load(); }));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task that no signal reaches is stopped all the same", "[pool][faults]") {
  const fd_ledger ledger;
  for (const deafness how : {deafness::spins, deafness::ignores_sigterm, deafness::blocks_all_signals}) {
    CAPTURE(static_cast<int>(how));
    mp::pool p(2);
    auto late = p.submit({.deadline = 20ms}, deaf, how);
    REQUIRE(late.wait_for(patience));
    CHECK(death_in([&] { return late.get(); }).why == mp::death::deadline);
    auto unwanted = p.submit(deaf, how);
    wait_until_running(p);
    CHECK(unwanted.cancel());
    REQUIRE(unwanted.wait_for(patience));
    CHECK_ERRC(unwanted.get(), cancelled);
    auto left = p.submit(deaf, how);
    wait_until_running(p);
    p.terminate();
    CHECK(p.join_for(patience));
    CHECK_ERRC(left.get(), cancelled);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task that writes over its worker's memory ends this worker at most", "[pool][faults]") {
  if (address_sanitizer || thread_sanitizer) MP_SKIP("the sanitizer reports the write itself");
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const std::size_t bytes : {std::size_t{200}, std::size_t{4000}, std::size_t{1} << 16, std::size_t{1} << 30}) {
      CAPTURE(bytes);
      auto f = p.submit({.deadline = patience}, scribble, bytes);
      const auto neighbours = p.map(cube, numbers(100));
      CHECK(neighbours.at(99) == 970299);
      REQUIRE(f.wait_for(2 * patience));
      if (bytes >= 1 << 20) CHECK_ERRC(f.get(), worker_died);  // less may go unseen
      CHECK(p.apply(cube, 3) == 27);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: what was answered before its worker died is delivered, what was half sent is not", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    for (int round = 0; round < 10; ++round) {
      mp::queue<int> q;
      std::vector<mp::future<int>> good;
      for (int i = 0; i < 10; ++i) good.push_back(p.submit(cube, i));
      auto bad = p.submit(say_and_die, q);
      REQUIRE(q.get_for(patience));  // its worker is about to die, or dead; nobody has collected for it
      for (int i = 0; i < 10; ++i) CHECK(good[static_cast<std::size_t>(i)].get() == i * i * i);
      CHECK_ERRC(bad.get(), worker_died);
    }
    for (int round = 0; round < 8; ++round) {
      mp::queue<int> q;
      auto half = p.submit(large_answer, q);
      REQUIRE(q.get_for(patience));
      for (const auto& w : p.stats().workers) ::kill(w.pid, SIGKILL);
      REQUIRE(half.wait_for(patience));
      try {
        const auto answer = half.get();
        CHECK(answer == std::vector<char>(large, 'x'));  // whole
      } catch (const mp::worker_died& e) {
        CHECK(e.post_mortem().status.signal() == SIGKILL);  // or not at all
      }
    }
    CHECK(p.apply(cube, 3) == 27);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an empty input gives an empty answer from every call", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    const std::vector<int> none;
    for (const std::ptrdiff_t chunk : {0, 1, 100}) {
      const mp::map_options options{.chunk = chunk};
      CHECK(p.map(cube, none, options).empty());
      CHECK(p.map_async(cube, none, options).get().empty());
      CHECK(p.starmap(joined, std::vector<std::tuple<std::string, int>>{}, options).empty());
      p.for_each(nothing, none, options);
      CHECK_ERRC(p.imap(cube, none, options).get(), closed);
      CHECK_ERRC(p.imap_unordered(cube, none, options).get(), closed);
      CHECK_ERRC(p.outcomes(cube, none, options).get(), closed);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an input that throws at once is an error in every call, again and again", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    const auto in = numbers(5);
    auto bad = in | std::views::transform([](int) -> int { throw std::domain_error("input"); });
    for (int again = 0; again < 2; ++again)
      for (const std::ptrdiff_t chunk : {0, 1, 4}) {
        const mp::map_options options{.chunk = chunk};
        CHECK_THROWS_AS(p.map(same, bad, options), std::domain_error);
        CHECK_THROWS_AS(p.map_async(same, bad, options).get(), std::domain_error);
        CHECK_THROWS_AS(p.imap(same, bad, options).get(), std::domain_error);
        CHECK_THROWS_AS(p.imap_unordered(same, bad, options).get(), std::domain_error);
      }
    CHECK(p.apply(cube, 2) == 8);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: terminated with 10,000 tasks in its queue, it ends at once", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(3);
    auto f = p.map_async(hang, numbers(10'000), {.chunk = 1});
    wait_until_running(p, 3);
    p.terminate();
    CHECK(p.join_for(patience));
    CHECK_ERRC(f.get(), cancelled);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: large errors of all items do not keep it from closing", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    CHECK_THROWS_AS(p.map(large_error, std::vector<int>(4, 1 << 20)), std::runtime_error);
    p.close();
    CHECK(p.join_for(patience));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: neither side keeps arguments and results that are done", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    {
      const std::vector<counted> in(10);
      static_cast<void>(p.map(pass_on, in));
      static_cast<void>(p.submit(pass_on, in[0]));  // nobody takes it
      for (const counted& c : p.imap(pass_on, in)) static_cast<void>(c);
      CHECK(counted::alive == 10);
    }
    CHECK(counted::alive == 0);
    CHECK(p.broadcast(how_many, 0) == std::vector{0, 0});
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: the initializer runs once in each worker, also in one that comes later", "[pool][faults]") {
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 2, .initializer = {remember, 7}});
    CHECK(p.broadcast(what_was_told, 0) == std::vector{7, 7});
    CHECK_ERRC(p.apply(end_worker, end::kill), worker_died);
    REQUIRE(eventually([&] { return p.stats().workers.size() == 2; }));
    CHECK(p.broadcast(what_was_told, 0) == std::vector{7, 7});
    CHECK(told_by_initializer == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a start that fails in the middle leaves no worker behind", "[pool][faults]") {
  if (address_sanitizer) MP_SKIP("the sanitizer needs descriptors for itself");
  const fd_ledger ledger;
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit few = before;
  few.rlim_cur = holdings::now().descriptors.size() + 45;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  CHECK_ERRC(mp::pool(40), out_of_resources);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a process that ends with a pool in its hands ends, and leaves no worker behind", "[pool][faults]") {
  const fd_ledger ledger;
  for (const int how : {0, 1, 2}) {
    CAPTURE(how);
    mp::process p{end_with_a_pool, how};
    p.start();
    const auto status = p.join_for(patience);
    REQUIRE(status);
    CHECK(status->success());
  }
  CHECK_CLEAN(ledger);
}
