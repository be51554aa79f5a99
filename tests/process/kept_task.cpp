// A task is a value: several processes may be made from one, and it may outlive them all. What each of them holds is
// its own, and dies with it alone. Decision 0006.

#include "channel_faults.hpp"
#include "mp/pool.hpp"
#include "mp/task.hpp"

#include <csignal>
#include <future>
#include <optional>
#include <set>

using namespace mp_test;

namespace {

void get_one_and_tell(mp::receiver<int> in, mp::sender<note> notes) {
  const int item = in.get();
  notes.put({mp::this_process::pid(), "got", item});
  stay();
}

void get_and_put_for_ever(mp::queue<int> q) {
  for (;;) q.put(q.get());
}

void put_and_tell(int items, mp::sender<int> out, mp::sender<note> notes) {
  for (int i = 0; i < items; ++i) out.put(i);
  notes.put({mp::this_process::pid(), "put"});
  stay();
}

void put_large_and_small_for_ever(mp::sender<std::string> out, mp::sender<note> notes) {
  notes.put({mp::this_process::pid(), "puts"});
  for (std::size_t i = 0;; ++i) out.put(std::string(i % 7 == 0 ? 100'000 : i % 3'000, 'x'));
}

void get_for_ever_and_tell(mp::receiver<int> in, mp::sender<note> notes) {
  const int first = in.get();
  notes.put({mp::this_process::pid(), "got", first});
  stay();
}

std::string why(const mp::process& p) { return p.failure().value_or(mp::failure{}).what; }

mp::queue<int>& kept_in_worker() {
  static mp::queue<int> q;
  return q;
}
void keep(mp::queue<int> q) { kept_in_worker() = std::move(q); }
int hold_one(int) { return kept_in_worker().get(); }

}  // namespace

TEST_CASE("task: each of the processes made from one has a presence of its own", "[task][faults]") {
  const auto method =
      GENERATE(mp::start_method::forkserver, mp::start_method::spawn, mp::start_method::fork_with_threads);
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q;
    mp::queue<note> notes;
    const mp::task t{get_one_and_tell, q.receiver(), notes.sender()};
    mp::process a({.start_method = method}, t), b({.start_method = method}, t);
    a.start();
    b.start();
    q.put(1);
    q.put(2);
    std::map<std::int64_t, int> in_hand;
    for (int i = 0; i < 2; ++i) {
      REQUIRE_NOTE(n, notes);
      in_hand[n.who] = static_cast<int>(n.number);
    }
    REQUIRE(in_hand.size() == 2);
    CHECK(q.take_lost().empty());

    a.kill();
    CHECK(a.join() == mp::exit_status::signaled(SIGKILL));
    auto lost = q.take_lost();
    REQUIRE(lost.size() == 1);
    CHECK(lost[0].item == in_hand[lost[0].consumer]);
    CHECK(b.is_alive());

    // The task is still kept: what the dead one held does not live on in it.
    mp::process c({.start_method = method}, t);
    c.start();
    q.put(3);
    REQUIRE_NOTE(third, notes);
    CHECK(third.number == 3);
    CHECK(q.take_lost().empty());
    b.kill();
    c.kill();
    b.join();
    c.join();
    lost = q.take_lost();
    CHECK(lost.size() == 2);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("task: a process killed in the middle of its queue leaves no lock behind, though its task is kept",
          "[task][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q;
    const mp::task t{get_and_put_for_ever, q};
    for (int i = 0; i < 4; ++i) q.put(i);
    for (int round = 0; round < rounds(10, 200); ++round) {
      mp::process a(t), b(t);
      a.start();
      b.start();
      // Both are at work: items pass.
      for (int i = 0; i < 20; ++i) {
        const auto item = q.get_for(patience);
        REQUIRE(item);
        q.put(*item);
      }
      a.kill();
      CHECK(a.join() == mp::exit_status::signaled(SIGKILL));
      for (const auto& lost : q.take_lost()) q.put(lost.item);
      for (int i = 0; i < 20; ++i) {
        const auto item = q.get_for(patience);
        REQUIRE(item);
        q.put(*item);
      }
      b.kill();
      CHECK(b.join() == mp::exit_status::signaled(SIGKILL));
      for (const auto& lost : q.take_lost()) q.put(lost.item);
    }
    // A consumer that dies between its put and its next get has put an item that is in its hand, too.
    std::set<int> left;
    while (const auto item = q.try_get()) left.insert(*item);
    CHECK(left == std::set<int>{0, 1, 2, 3});
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: workers whose initializer is given a queue hold it each for itself", "[pool][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q;
    mp::pool workers({.workers = 2, .initializer = mp::task{keep, q}});
    auto first = workers.submit(hold_one, 0), second = workers.submit(hold_one, 0);
    q.put(1);
    q.put(2);
    CHECK(first.get() + second.get() == 3);
    // Both have one in hand, and both live.
    CHECK(q.take_lost().empty());
  }
  CHECK_CLEAN(ledger);  // also for the next test: the I/O thread lets the pool's descriptors go a little later
}

TEST_CASE("pipe: an end that a task gives to a second process is refused there, and the first keeps it",
          "[pipe][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    auto [in, out] = mp::pipe<int>();
    mp::queue<note> notes;
    const mp::task t{put_and_tell, 3, std::move(out), notes.sender()};
    mp::process first(t), second(t);
    first.start();
    REQUIRE_NOTE(put, notes);
    CHECK(put.who == first.pid());
    second.start();
    CHECK(second.join() == mp::exit_status::exited(1));
    CHECK_THAT(why(second), contains("an end has one user"));
    CHECK_THAT(why(second), contains(std::to_string(first.pid())));
    CHECK(first.is_alive());
    for (int i = 0; i < 3; ++i) CHECK(in.get_for(patience) == i);

    // Once the first is gone, the end is free.
    first.kill();
    CHECK(first.join() == mp::exit_status::signaled(SIGKILL));
    mp::process third(t);
    third.start();
    for (int i = 0; i < 3; ++i) CHECK(in.get_for(patience) == i);
    third.kill();
    third.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: a receiving end that a task gives to a second process is refused there", "[pipe][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    auto [in, out] = mp::pipe<int>();
    mp::queue<note> notes;
    const mp::task t{get_for_ever_and_tell, std::move(in), notes.sender()};
    mp::process first(t), second(t);
    first.start();
    out.put(1);
    REQUIRE_NOTE(got, notes);
    CHECK(got.number == 1);
    second.start();
    CHECK(second.join() == mp::exit_status::exited(1));
    CHECK_THAT(why(second), contains("the receiving end of a pipe"));
    first.kill();
    first.join();
    mp::process third(t);
    third.start();
    out.put(2);
    REQUIRE_NOTE(next, notes);
    CHECK(next.number == 2);
    third.kill();
    third.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: an end that left in order has left, though the task that it came with was kept beyond that",
          "[pipe][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    auto [in, out] = mp::pipe<int>();
    std::optional<mp::task> kept(
        std::in_place, [](mp::sender<int> to) { to.put(1); }, std::move(out));
    mp::process p(*kept);
    CHECK(p.start().join().success());
    CHECK(in.get_for(patience) == 1);
    CHECK(in.try_get() == std::nullopt);  // a task that holds the end may still run again
    kept.reset();
    CHECK_ERRC(in.get_for(patience), closed);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: a writer killed at any moment has a successor from the same task, and every message is whole",
          "[pipe][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    auto [in, out] = mp::pipe<std::string>();
    mp::queue<note> notes;
    const mp::task t{put_large_and_small_for_ever, std::move(out), notes.sender()};
    for (int round = 0; round < rounds(20, 400); ++round) {
      mp::process p(t);
      p.start();
      REQUIRE_NOTE(puts, notes);
      for (int i = 0; i < 50 + round; ++i) {
        const auto text = in.get_for(patience);
        REQUIRE(text);
        REQUIRE(*text == std::string(text->size(), 'x'));
      }
      p.kill();
      CHECK(p.join() == mp::exit_status::signaled(SIGKILL));
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: an end that goes through several processes is at home in each", "[pipe][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    auto [in, out] = mp::pipe<int>();
    auto [back, forth] = mp::pipe<mp::sender<int>>();
    for (int round = 0; round < 5; ++round) {
      mp::queue<mp::sender<int>> home;
      mp::process p(
          [](int value, mp::sender<int> end, mp::sender<mp::sender<int>> to) {
            end.put(value);
            to.put(std::move(end));
          },
          round, std::move(out), home.sender());
      p.start();
      CHECK(in.get_for(patience) == round);
      auto returned = home.get_for(patience);
      REQUIRE(returned);
      out = std::move(*returned);
      CHECK(p.join().success());
      // To ourselves, through a message.
      forth.put(std::move(out));
      out = back.get();
    }
    out.put(42);
    CHECK(in.get_for(patience) == 42);
  }
  CHECK_CLEAN(ledger);
}
