#pragma once
// The promises of transports whose handles travel, tried through processes; and the cells of the capability table.

#include "conformance/channel_suite_ends.hpp"

#include "mp/process.hpp"
#include "mp/this_process.hpp"

#include <signal.h>
#include <unistd.h>
#include <array>
#include <optional>
#include <ranges>
#include <string>
#include <vector>

namespace conformance {

using mp_test::long_patience;

[[noreturn]] inline void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

inline void square_all(mp::receiver<int> in, mp::sender<int> out) {
  for (const int v : in) out.put(v * v);
}
inline void put_and_end(mp::sender<int> out, int count) {
  for (int i = 0; i < count; ++i) out.put(i);
}
inline void put_and_die(mp::sender<std::string> out) {
  out.put("last words");
  die();
}
inline void take_one_and_die(mp::queue<int> q, mp::sender<int> told) {
  told.put(q.get());
  die();
}
inline void take_one_and_leave(mp::queue<int> q, mp::sender<int> told) { told.put(q.get()); }
inline void make_queue_and_end(mp::sender<mp::queue<int>> out) {
  auto q = mp::queue<int>(mp::queue_options{.transport = tested});
  q.put(1);
  out.put(q);
}
inline void hold_until_told(mp::queue<int> q, mp::receiver<int> go) {
  static_cast<void>(q);
  static_cast<void>(go.get());
}
inline void get_one_whole(mp::queue<int> q, mp::sender<int> out) {
  try {
    out.put(q.get());
  } catch (const mp::error& e) {
    out.put(e.code() == mp::errc::closed ? -1 : -2);
  }
}
// Kept in globals: no destructor of a handle runs before the process ends.
inline std::optional<mp::sender<int>> kept_sender;
inline std::optional<mp::receiver<int>> kept_receiver;
inline void keep_sender(mp::sender<int> out) {
  kept_sender = std::move(out);
  kept_sender->put(1);
}
inline void keep_receiver(mp::receiver<int> in, mp::sender<int> told) {
  kept_receiver = std::move(in);
  told.put(kept_receiver->get());
}
inline void read_size(mp::receiver<std::string> in, mp::sender<std::size_t> out) {
  for (const auto& s : in) out.put(s.size());
}

TEST_CASE("pipe: an end kept in a global leaves in order when its process ends", "[pipe][process][conformance]") {
  auto [in, out] = make_pipe<int>();
  auto putting = mp::process(keep_sender, std::move(out)).start();
  CHECK(in.get_for(long_patience) == 1);
  CHECK_ERRC(in.get_for(long_patience), closed);
  CHECK(putting.join().success());

  auto ends = make_pipe<int>({.maxsize = 1});
  auto notes = make_pipe<int>();
  auto getting = mp::process(keep_receiver, std::move(ends.receiver), std::move(notes.sender)).start();
  ends.sender.put(7);
  CHECK(notes.receiver.get_for(long_patience) == 7);
  CHECK(getting.join().success());
  CHECK_ERRC(ends.sender.put_for(9, long_patience), closed);
}

TEST_CASE("queue: streams through workers end by themselves", "[queue][process][conformance]") {
  const mp_test::fd_ledger ledger;
  {
    auto jobs = make_queue<int>();
    auto results = make_queue<int>();
    std::vector<mp::process> workers;
    for (int i = 0; i < 2; ++i) {
      workers.emplace_back(square_all, jobs.receiver(), results.sender());
      workers.back().start();
    }
    auto in = jobs.sender();
    auto out = results.receiver();
    jobs.close();
    results.close();
    for (int i = 1; i <= 100; ++i) in.put(i);
    in.close();
    long sum = 0;
    for (const int v : out) sum += v;
    CHECK(sum == 338350);
    for (auto& w : workers) CHECK(w.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: a child reads messages of every size", "[pipe][process][conformance]") {
  auto there = make_pipe<std::string>();
  auto back = make_pipe<std::size_t>();
  mp::process p(read_size, std::move(there.receiver), std::move(back.sender));
  p.start();
  for (const std::size_t n : {0u, 1u, 1000u, 65536u, 3'000'000u}) {
    there.sender.put(std::string(n, 'x'));
    CHECK(back.receiver.get_for(long_patience) == n);
  }
  there.sender.close();
  CHECK(p.join().success());
  CHECK_ERRC(back.receiver.get(), closed);
}

TEST_CASE("pipe: a sender that left gives closed, one that died gives peer_died, after its last message",
          "[pipe][process][conformance]") {
  auto left = make_pipe<int>();
  mp::process p(put_and_end, std::move(left.sender), 3);
  p.start();
  for (int i = 0; i < 3; ++i) CHECK(left.receiver.get() == i);
  CHECK_ERRC(left.receiver.get(), closed);
  p.join();

  auto died = make_pipe<std::string>();
  mp::process q(put_and_die, std::move(died.sender));
  q.start();
  CHECK(died.receiver.get() == "last words");
  CHECK_ERRC(died.receiver.get(), peer_died);
  CHECK(q.join().signal() == SIGKILL);
}

TEST_CASE("pipe: a put throws peer_died when the process with the receiver was killed",
          "[pipe][process][conformance]") {
  auto ends = make_pipe<int>({.maxsize = 1});
  mp::process p([](mp::receiver<int>) { die(); }, std::move(ends.receiver));
  p.start();
  CHECK(p.join().signal() == SIGKILL);
  CHECK_ERRC(ends.sender.put_many(std::views::iota(0, 3)) == 1 ? ends.sender.put(1) : ends.sender.put(1), peer_died);
}

TEST_CASE("queue: a get ends when the last other process that could put has gone", "[queue][process][conformance]") {
  auto q = make_queue<int>();
  auto go = mp::pipe<int>();
  mp::process p(hold_until_told, q, std::move(go.receiver));
  p.start();
  CHECK(q.get_for(1ms) == std::nullopt);
  go.sender.put(1);
  CHECK_ERRC(q.get(), closed);
  CHECK(p.join().success());
}

TEST_CASE("queue: a killed holder no longer counts", "[queue][process][conformance]") {
  auto q = make_queue<int>();
  auto go = mp::pipe<int>();
  mp::process p(hold_until_told, q, std::move(go.receiver));
  p.start();
  p.kill();
  CHECK_ERRC(q.get(), closed);
  CHECK(p.join().signal() == SIGKILL);
}

TEST_CASE("queue: a child that holds a whole queue waits while we hold it, and ends when we let go",
          "[queue][process][conformance]") {
  auto q = make_queue<int>();
  auto told = mp::pipe<int>();
  mp::process p(get_one_whole, q, std::move(told.sender));
  p.start();
  CHECK(told.receiver.get_for(1ms) == std::nullopt);
  q.put(5);
  CHECK(told.receiver.get() == 5);
  CHECK(p.join().success());
}

TEST_CASE("pipe: a producer may fill it and end before anybody reads exactly if the table says so",
          "[process][conformance][table]") {
  using small = std::array<char, 64>;
  constexpr int many = 1 << 20;  // 64 MiB
  // A pipe holds little unless it is told to hold more: its writer stays near its reader.
  auto ends = make_pipe<small>(can.backlog ? mp::pipe_options{.max_bytes = 256u << 20} : mp::pipe_options{});
  if constexpr (can.backlog) {
    mp::process p(
        [](mp::sender<small> out) {
          for (int i = 0; i < many; ++i) out.put(small{});
        },
        std::move(ends.sender));
    p.start();
    CHECK(p.join_for(long_patience).has_value());
    int count = 0;
    for (auto batch = ends.receiver.get_many(4096); !batch.empty(); batch = ends.receiver.try_get_many(4096))
      if ((count += static_cast<int>(batch.size())) == many) break;
    CHECK(count == many);
    CHECK_ERRC(ends.receiver.get(), closed);
  } else {
    int count = 0;
    while (count < many && ends.sender.try_put(small{})) ++count;
    CHECK(count < many);
    CHECK(ends.receiver.try_get().has_value());
  }
}

TEST_CASE("queue: it survives the process that made it exactly if the table says so", "[process][conformance][table]") {
  auto ends = mp::pipe<mp::queue<int>>();
  mp::process p(make_queue_and_end, std::move(ends.sender));
  p.start();
  auto q = ends.receiver.get();
  CHECK(p.join().success());
  if constexpr (can.survives_maker) {
    CHECK(q.get() == 1);
    q.put(2);
    CHECK(q.get() == 2);
  } else {
    CHECK_ERRC(q.get(), closed);
    CHECK_ERRC(q.put(2), closed);
  }
}

TEST_CASE("queue: an item in a dead consumer's hand is reported once", "[process][conformance][table]") {
  if constexpr (can.in_hand) {
    auto q = make_queue<int>();
    q.put(7);
    q.put(8);
    auto told = mp::pipe<int>();
    mp::process p(take_one_and_die, q, std::move(told.sender));
    p.start();
    CHECK(told.receiver.get() == 7);
    CHECK(p.join().signal() == SIGKILL);
    std::vector<mp::lost_item<int>> lost;
    CHECK(mp_test::eventually([&] { return !(lost = q.take_lost()).empty(); }));
    REQUIRE(lost.size() == 1);
    CHECK(lost[0].item == 7);
    CHECK(lost[0].consumer != 0);
    CHECK(q.take_lost().empty());
    CHECK(q.get() == 8);
  }
}

TEST_CASE("queue: an item in the hand of a consumer that left is not reported", "[process][conformance][table]") {
  if constexpr (can.in_hand) {
    auto q = make_queue<int>();
    q.put(7);
    auto told = mp::pipe<int>();
    mp::process p(take_one_and_leave, q, std::move(told.sender));
    p.start();
    CHECK(told.receiver.get() == 7);
    CHECK(p.join().success());
    CHECK_ERRC(q.get(), closed);
    CHECK(q.take_lost().empty());
  }
}

TEST_CASE("queue: with redeliver a dead consumer's item comes to the next one", "[process][conformance][table]") {
  if constexpr (can.in_hand) {
    auto q = make_queue<int>({.on_consumer_death = mp::on_death::redeliver});
    q.put(7);
    auto told = mp::pipe<int>();
    mp::process p(take_one_and_die, q, std::move(told.sender));
    p.start();
    CHECK(told.receiver.get() == 7);
    CHECK(p.join().signal() == SIGKILL);
    CHECK(q.get_for(long_patience) == 7);
    CHECK(q.take_lost().empty());
  }
}

TEST_CASE("joinable_queue: join waits for what children do", "[queue][process][conformance]") {
  mp::joinable_queue<int> q(mp::queue_options{.transport = tested});
  mp::process p(
      [](mp::joinable_queue<int> jobs) {
        for (int i = 0; i < 10; ++i) {
          static_cast<void>(jobs.get());
          jobs.task_done();
        }
      },
      q);
  for (int i = 0; i < 10; ++i) q.put(i);
  p.start();
  CHECK(q.join_for(long_patience));
  CHECK(p.join().success());
}

TEST_CASE("queue: children of children share it", "[queue][process][conformance]") {
  auto q = make_queue<int>();
  auto r = q.receiver();
  mp::process p(
      [](mp::queue<int> mine) {
        mine.put(1);
        mp::process grandchild([](mp::sender<int> out) { out.put(2); }, mine);
        grandchild.start();
        grandchild.join();
      },
      q);
  p.start();
  q.close();
  std::vector<int> seen;
  for (const int v : r) seen.push_back(v);
  CHECK(seen == std::vector{1, 2});
  CHECK(p.join().success());
}

}  // namespace conformance
