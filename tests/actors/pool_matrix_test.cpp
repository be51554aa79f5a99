// The matrix of a task's way: {encode argument, decode argument, run, destroy argument, encode result, decode result} x
// {throw, exit, crash, hang}. Each cell ends under a deadline, says what happened, and harms nobody else.

#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "pool_tasks.hpp"

#include <tuple>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

enum class place { nowhere, encode_argument, decode_argument, run, destroy_argument, encode_result, decode_result };
enum class deed { throws, exits, quits, crashes, aborts, is_killed, hangs };

/// Is this the process that asked, or a worker in its task?
bool asking() { return mp::this_task::id() == 0; }

/// A value that does something bad at one place of its way. What goes on from a place is harmless there.
class mine {
public:
  mine() = default;
  mine(place where, deed what) : where_(where), what_(what) {}
  mine(mine&& other) noexcept : where_(std::exchange(other.where_, place::nowhere)), what_(other.what_) {}
  mine(const mine& other) = default;
  mine& operator=(mine&& other) noexcept {
    where_ = std::exchange(other.where_, place::nowhere);
    what_ = other.what_;
    return *this;
  }
  ~mine() noexcept(false) {
    if (!asking()) go_off(place::destroy_argument);
  }

  place where() const { return where_; }
  deed what() const { return what_; }

  void go_off(place here) const {
    if (where_ != here) return;
    switch (what_) {
      case deed::throws: throw std::range_error("stepped on it");
      case deed::exits: end_by(end::exit);
      case deed::quits: end_by(end::quick_exit);
      case deed::crashes: end_by(end::segv);
      case deed::aborts: end_by(end::abort);
      case deed::is_killed: end_by(end::kill);
      case deed::hangs: hang(0);
    }
  }

private:
  place where_ = place::nowhere;
  deed what_ = deed::throws;
};

mine carry(const mine& m) {
  m.go_off(place::run);
  return m.where() == place::encode_result || m.where() == place::decode_result ? mine(m.where(), m.what()) : mine();
}

constexpr deed ends[] = {deed::exits, deed::quits, deed::crashes, deed::aborts, deed::is_killed};

mp::exit_status status_of(deed what) {
  switch (what) {
    case deed::exits: return mp::exit_status::exited(3);
    case deed::quits: return mp::exit_status::exited(4);
    case deed::crashes: return mp::exit_status::signaled(SIGSEGV);
    case deed::aborts: return mp::exit_status::signaled(SIGABRT);
    default: return mp::exit_status::signaled(SIGKILL);
  }
}
bool same_end(const mp::exit_status& a, const mp::exit_status& b) {
  return a.code() == b.code() && a.signal() == b.signal();  // whether a core was dumped is the machine's business
}

/// Asks a pool to carry a mine that goes off on this side of it. Ends as the mine says; 0: it threw, and the pool goes
/// on; 5: nothing was thrown; 6: the pool does not go on.
int step_on(place where, deed what, mp::sender<int> ready) {
  mp::pool p(2);
  if (p.apply(cube, 2) != 8) return 6;
  ready.put(1);
  try {
    p.apply(carry, mine(where, what));
    return 5;
  } catch (const std::exception&) {
  }
  return p.apply(cube, 3) == 27 ? 0 : 6;
}
void ask_in_a_process(place where, deed what, mp::sender<int> ready) {
  if (const int code = step_on(where, what, std::move(ready))) ::_exit(50 + code);
}

}  // namespace

template <>
struct mp::codec<mine> {
  static std::pair<int, int> encode(const mine& m) {
    m.go_off(asking() ? place::encode_argument : place::encode_result);
    return {static_cast<int>(m.where()), static_cast<int>(m.what())};
  }
  static mine decode(std::pair<int, int> v) {
    const mine m(static_cast<place>(v.first), static_cast<deed>(v.second));
    m.go_off(asking() ? place::decode_result : place::decode_argument);
    return mine(m);
  }
};

TEST_CASE("pool matrix: what throws on a task's way is this task's error, and costs no worker", "[pool][matrix]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const place where : {place::encode_argument, place::decode_argument, place::run, place::encode_result}) {
      CAPTURE(static_cast<int>(where));
      for (int again = 0; again < 20; ++again) {
        CHECK_THROWS_AS(p.apply(carry, mine(where, deed::throws)), std::exception);
        CHECK(p.apply(carry, mine()).where() == place::nowhere);
      }
      CHECK_THROWS_AS(p.map(carry, std::vector<mine>(9, mine(where, deed::throws)), {.chunk = 3}), std::exception);
    }
    CHECK_THROWS_AS(p.apply(carry, mine(place::run, deed::throws)), std::range_error);
    CHECK_THROWS_AS(p.submit(carry, mine(place::encode_argument, deed::throws)), std::range_error);
    CHECK_ERRC(p.apply(carry, mine(place::decode_argument, deed::throws)), undecodable);
    CHECK_ERRC(p.apply(carry, mine(place::decode_result, deed::throws)), undecodable);
    CHECK(p.stats().worker_deaths == 0);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool matrix: what ends a worker on a task's way is told, and the pool goes on", "[pool][matrix]") {
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    mp::pool p({.workers = 2, .start_method = method});
    for (const place where : {place::decode_argument, place::run, place::encode_result})
      for (const deed what : ends) {
        CAPTURE(static_cast<int>(method), static_cast<int>(where), static_cast<int>(what));
        auto f = p.submit(carry, mine(where, what));
        REQUIRE(f.wait_for(patience));
        CHECK(same_end(death_in([&] { return f.get(); }).status, status_of(what)));
        CHECK(p.apply(carry, mine()).where() == place::nowhere);
      }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool matrix: what goes off in a destructor ends its worker, never the pool", "[pool][matrix]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const deed what : {deed::throws, deed::exits, deed::quits, deed::crashes, deed::aborts, deed::is_killed}) {
      CAPTURE(static_cast<int>(what));
      const auto deaths = p.stats().worker_deaths;
      auto f = p.submit(carry, mine(place::destroy_argument, what));
      REQUIRE(f.wait_for(patience));
      if (what == deed::throws) {  // compilers differ in whether a copy goes while it is read, and is caught there
        CHECK_THROWS_AS(f.get(), std::exception);
        CHECK(p.apply(carry, mine()).where() == place::nowhere);
        continue;
      }
      // The argument goes before the result is sent.
      const auto status = death_in([&] { return f.get(); }).status;
      CHECK(same_end(status, status_of(what)));
      CHECK(p.stats().worker_deaths == deaths + 1);
      CHECK(p.apply(carry, mine()).where() == place::nowhere);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool matrix: what hangs on a task's way is ended by the deadline", "[pool][matrix]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    for (const place where : {place::decode_argument, place::run, place::destroy_argument, place::encode_result}) {
      CAPTURE(static_cast<int>(where));
      auto f = p.submit({.deadline = 20ms}, carry, mine(where, deed::hangs));
      REQUIRE(f.wait_for(patience));
      const auto death = death_in([&] { return f.get(); });
      CHECK(death.why == mp::death::deadline);
      CHECK(death.status.signal() == SIGKILL);
      CHECK(p.apply(carry, mine()).where() == place::nowhere);
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool matrix: what goes off on the caller's side is the caller's own, and leaves no worker behind",
          "[pool][matrix]") {
  const fd_ledger ledger;
  for (const place where : {place::encode_argument, place::decode_result}) {
    for (const deed what :
         {deed::throws, deed::exits, deed::quits, deed::crashes, deed::aborts, deed::is_killed, deed::hangs}) {
      CAPTURE(static_cast<int>(where), static_cast<int>(what));
      mp::queue<int> ready;
      mp::process p{ask_in_a_process, where, what, ready.sender()};
      p.start();
      REQUIRE(ready.get_for(patience));
      if (what == deed::hangs) {  // no deadline can end our own code: whoever watches the process has to
        CHECK_FALSE(p.join_for(20ms));
        p.kill();
      }
      const auto status = p.join_for(patience);
      REQUIRE(status);
      CHECK(same_end(*status, what == deed::throws ? mp::exit_status::exited(0) : status_of(what)));
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool matrix: ended with arguments on their way that fail to encode or decode, it does not hang",
          "[pool][matrix]") {
  const fd_ledger ledger;
  enum class way { close, terminate, drain, drop };
  for (const way how : {way::close, way::terminate, way::drain, way::drop})
    for (const deed what : {deed::throws, deed::is_killed}) {
      CAPTURE(static_cast<int>(how), static_cast<int>(what));
      std::vector<mp::future<mine>> bad, back;
      std::vector<mp::future<int>> good;
      {
        mp::pool p({.workers = 2, .restart = {.intensity = 1000, .back_off = {.first = 1ms}}});
        for (int i = 0; i < 10; ++i) {
          CHECK_THROWS_AS(p.submit(carry, mine(place::encode_argument, deed::throws)), std::range_error);
          good.push_back(p.submit(cube, i));
          bad.push_back(p.submit(carry, mine(place::decode_argument, what)));
          back.push_back(p.submit(carry, mine(place::decode_result, deed::throws)));
        }
        if (how == way::close || how == way::drain) {
          if (how == way::drain) static_cast<void>(p.drain(patience));
          p.close();
        }
        if (how == way::terminate) p.terminate();
        if (how != way::drop) CHECK(p.join_for(patience));
      }
      const bool all_ran = how == way::close || how == way::drain;
      const auto expected = what == deed::throws ? mp::errc::undecodable : mp::errc::worker_died;
      for (std::size_t i = 0; i < 10; ++i) {
        REQUIRE(bad[i].ready());
        const auto problem = errc_of([&] { return bad[i].get(); });
        CHECK((problem == expected || (!all_ran && problem == mp::errc::cancelled)));
        REQUIRE(back[i].ready());
        const auto late = errc_of([&] { return back[i].get(); });
        CHECK((late == mp::errc::undecodable || (!all_ran && late == mp::errc::cancelled)));
        REQUIRE(good[i].ready());
        if (all_ran) CHECK(good[i].get() == static_cast<int>(i * i * i));
      }
    }
  CHECK_CLEAN(ledger);
}
