// Workers that die: one death costs one item, is explained, and no caller waits for the dead.

#include "pool_tasks.hpp"

#include <sys/resource.h>
#include <algorithm>
#include <atomic>
#include <fstream>
#include <latch>
#include <memory>
#include <mutex>
#include <new>
#include <ranges>
#include <set>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

// A value that does something bad where it is encoded or decoded.
enum class place { nowhere, encode_argument, decode_argument, run, encode_result, decode_result };
struct trap {
  place where = place::nowhere;
  bool throws = false;
  end how = end::kill;
  void spring(place here) const {
    if (where != here) return;
    if (throws) throw std::runtime_error("sprung");
    end_by(how);
  }
};
trap pass(trap t) {
  t.spring(place::run);
  if (t.where == place::decode_argument) t.where = place::nowhere;
  return t;
}
pid_t parent_of_all = 0;

int dies_on_first_attempt(int x) {
  if (mp::this_task::attempt() == 1) end_by(end::kill);
  return x + mp::this_task::attempt();
}
std::string count_and_die(std::string file) {
  std::ofstream(file, std::ios::app) << '.';
  end_by(end::segv);
}
void fail_to_start() { throw std::runtime_error("no model file"); }
int grows(int) {
  std::vector<std::unique_ptr<char[]>> all;
  for (;;) all.emplace_back(new char[64 << 20]);  // not touched: it is about address space
}
int recurse(int n) {
  volatile char block[4096];
  block[0] = static_cast<char>(n);
  return n == -1 ? 0 : recurse(n + 1) + block[0];
}
void write_and_die() {
  std::fputs("last words\n", stderr);
  std::fflush(stderr);
  end_by(end::abort);
}

}  // namespace

template <>
struct mp::codec<trap> {
  // The place, and whether the value is on its way back.
  static std::tuple<int, bool, int> encode(const trap& t) {
    t.spring(::getpid() == parent_of_all || mp::this_task::id() == 0 ? place::encode_argument : place::encode_result);
    return {static_cast<int>(t.where), t.throws, static_cast<int>(t.how)};
  }
  static trap decode(std::tuple<int, bool, int> v) {
    const trap t{static_cast<place>(std::get<0>(v)), std::get<1>(v), static_cast<end>(std::get<2>(v))};
    t.spring(mp::this_task::id() == 0 ? place::decode_result : place::decode_argument);
    return t;
  }
};

TEST_CASE("pool: however a task ends its worker, its future says so and the pool goes on", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    struct row {
      end how;
      mp::exit_status status;
    };
    for (const row& r :
         {row{end::segv, mp::exit_status::signaled(SIGSEGV)}, row{end::kill, mp::exit_status::signaled(SIGKILL)},
          row{end::abort, mp::exit_status::signaled(SIGABRT)}, row{end::terminate, mp::exit_status::signaled(SIGABRT)},
          row{end::exit, mp::exit_status::exited(3)}, row{end::quick_exit, mp::exit_status::exited(4)},
          row{end::now, mp::exit_status::exited(5)}, row{end::quit, mp::exit_status::exited(0)}}) {
      CAPTURE(mp::to_string(r.status));
      auto f = p.submit(end_worker, r.how);
      REQUIRE(f.wait_for(patience));
      const auto id = f.id();
      const auto death = death_in([&] { return f.get(); });
      CHECK(death.status.signal() == r.status.signal());
      CHECK(death.status.code() == r.status.code());
      CHECK(death.task == id);
      CHECK(death.attempt == 1);
      CHECK_THAT(death.process_name, starts_with("pool worker "));
      CHECK_THAT(death.function, contains("end_worker"));
      CHECK(death.pid > 0);
      CHECK(p.apply(cube, 3) == 27);
    }
    CHECK(p.stats().worker_deaths == 8);
    CHECK(p.dead_letters().size() == 8);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a crash is explained", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    const auto death = death_in([&] { return p.apply(end_worker, end::segv); });
    CHECK(death.why == mp::death::signaled);
    if (!address_sanitizer && !thread_sanitizer) CHECK_THAT(death.failure.backtrace, contains("end_worker"));
    const auto words = death_in([&] {
      p.apply(write_and_die);
      return 0;
    });
    CHECK_THAT(words.failure.stderr_tail, contains("last words"));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an item that dies costs no other item, at any size of chunk", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const std::ptrdiff_t chunk : {0, 1, 5, 10, 64, 200}) {
      CAPTURE(chunk);
      std::set<std::size_t> good, dead;
      for (auto& o : p.outcomes(sometimes_dies, numbers(100), {.chunk = chunk, .look_ahead = 300})) {
        (o ? good : dead).insert(o.index);
        if (o)
          CHECK(*o == static_cast<int>(o.index));
        else
          CHECK(o.post_mortem() != nullptr);
      }
      CHECK(good.size() == 90);
      CHECK(dead == std::set<std::size_t>{3, 13, 23, 33, 43, 53, 63, 73, 83, 93});
      CHECK_ERRC(p.map(sometimes_dies, numbers(40), {.chunk = chunk}), worker_died);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: the table of crashes: at each place of a task's way, by each means", "[pool][death]") {
  const fd_ledger ledger;
  parent_of_all = ::getpid();
  {
    mp::pool p(2);
    for (const place where :
         {place::encode_argument, place::decode_argument, place::run, place::encode_result, place::decode_result}) {
      CAPTURE(static_cast<int>(where));
      const trap bad{where, true, end::kill};
      CHECK_THROWS_AS(p.apply(pass, bad), std::exception);
      CHECK(p.apply(pass, trap{}).where == place::nowhere);
    }
    CHECK(p.stats().worker_deaths == 0);
    for (const place where : {place::decode_argument, place::run, place::encode_result})
      for (const end how : {end::segv, end::kill, end::abort, end::exit, end::quick_exit, end::now}) {
        CAPTURE(static_cast<int>(where), static_cast<int>(how));
        CHECK_ERRC(p.apply(pass, trap{where, false, how}), worker_died);
      }
    // In the middle of a chunk: the others have their answers.
    for (const bool throws : {true, false})
      for (const place where : {place::decode_argument, place::run, place::encode_result}) {
        CAPTURE(static_cast<int>(where), throws);
        std::vector<trap> in(9);
        in[4] = trap{where, throws, end::kill};
        std::size_t good = 0;
        for (auto& o : p.outcomes(pass, in)) good += static_cast<bool>(o);
        CHECK(good == 8);
        CHECK_THROWS_AS(p.map(pass, in, {.chunk = 9}), std::exception);
      }
    CHECK(p.apply(cube, 2) == 8);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a task that had begun is not run again unless it says it may", "[pool][death]") {
  const fd_ledger ledger;
  {
    const auto file = "/tmp/mp_pool_test." + std::to_string(::getpid());
    {
      mp::pool p(2);
      CHECK_ERRC(p.apply(count_and_die, file), worker_died);
      CHECK(std::ifstream(file).seekg(0, std::ios::end).tellg() == 1);

      const mp::task_options thrice{.retry = {.attempts = 3, .back_off = {.first = 1ms}, .idempotent = true}};
      try {
        p.apply(thrice, count_and_die, file);
        FAIL("it lived");
      } catch (const mp::worker_died& e) {
        CHECK(e.code() == mp::errc::task_poisoned);
        REQUIRE(e.deaths().size() == 3);
        for (int i = 0; i < 3; ++i) CHECK(e.deaths()[static_cast<std::size_t>(i)].attempt == i + 1);
      }
      CHECK(std::ifstream(file).seekg(0, std::ios::end).tellg() == 4);
      CHECK(p.apply(thrice, dies_on_first_attempt, 5) == 7);
      CHECK(p.stats().retried == 3);
      REQUIRE(p.dead_letters().size() == 2);
      CHECK(p.dead_letters()[1].deaths.size() == 3);
      CHECK_ERRC(p.submit({.retry = {.attempts = 2}}, cube, 1), invalid_argument);
      CHECK_ERRC(p.submit({.retry = {.attempts = 0}}, cube, 1), invalid_argument);
    }
    ::unlink(file.c_str());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: one poisoned task among many leaves the others alone", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::size_t good = 0, poisoned = 0;
    for (auto& o : p.outcomes([](int x) { return x == 500 ? end_worker(end::kill) : x; }, numbers(1000),
                              {.retry = {.attempts = 3, .back_off = {.first = 1ms}, .idempotent = true}})) {
      if (o)
        ++good;
      else
        poisoned += o.code() == mp::errc::task_poisoned;
    }
    CHECK(good == 999);
    CHECK(poisoned == 1);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: killed from outside: idle workers are replaced, and work goes on", "[pool][death]") {
  const fd_ledger ledger;
  {
    std::atomic<int> exits{0};
    mp::pool p({.workers = 2, .on_worker_exit = [&exits](const mp::worker_exit& e) { exits += e.replaced; }});
    for (int round = 0; round < 3; ++round) {
      std::set<pid_t> before;
      for (const auto& w : p.stats().workers) before.insert(w.pid);
      REQUIRE(before.size() == 2);
      for (const pid_t pid : before) ::kill(pid, SIGKILL);
      CHECK(p.map(cube, std::views::iota(1, 4)) == std::vector{1, 8, 27});
      REQUIRE(eventually([&] {
        const auto s = p.stats();
        return s.workers.size() == 2 &&
               std::ranges::none_of(s.workers, [&](const auto& w) { return before.contains(w.pid); });
      }));
      if (round == 1) p.resize(2);
    }
    REQUIRE(eventually([&] { return exits == 6; }));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: nobody who waits needs the I/O thread for a death, or for the next worker", "[pool][death]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::latch is_busy(1), may_go_on(1);
    const auto held = p.submit(same, 1).then([&](int) {
      is_busy.count_down();
      may_go_on.wait();
    });
    is_busy.wait();
    for (int i = 0; i < 6; ++i) CHECK_ERRC(p.apply(end_by, end::kill), worker_died);
    may_go_on.count_down();
    held.wait();
    CHECK(p.map(cube, std::views::iota(1, 4)) == std::vector{1, 8, 27});
    CHECK(p.stats().worker_deaths == 6);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: an initializer that fails ends in one clear error", "[pool][death]") {
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    CAPTURE(static_cast<int>(method));
    mp::pool p({.workers = 2,
                .initializer = {fail_to_start},
                .start_method = method,
                .restart = {.intensity = 3, .back_off = {.first = 1ms}}});
    auto f = p.submit(cube, 1);
    REQUIRE(f.wait_for(patience));
    CHECK_ERRC(f.get(), pool_broken);
    const auto what = what_of([&] { return p.submit(cube, 1); });
    CHECK_THAT(what, contains("no model file"));
    CHECK_THAT(what, contains("initializer"));
    CHECK(p.stats().worker_deaths <= 6);
    p.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: limits: a task that eats memory or stack ends alone", "[pool][death]") {
  if (address_sanitizer || thread_sanitizer) MP_SKIP("sanitizers reserve terabytes of address space");
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 1, .limits = {.memory = std::size_t{2} << 30, .stack = 1 << 20}});
    CHECK_THROWS_AS(p.apply(grows, 0), std::bad_alloc);
    CHECK(death_in([&] { return p.apply(recurse, 0); }).status.signal() == SIGSEGV);
    CHECK(p.apply(cube, 3) == 27);
  }
  CHECK_CLEAN(ledger);
}
