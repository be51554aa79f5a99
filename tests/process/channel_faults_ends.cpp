// Who waits for somebody who dies: every get and put ends, and what was sent arrives. FAULTS rows 5, 6, 16.
// Must not look at the clock for anything but figures.

#include "channel_faults.hpp"
#include "support/child.hpp"

#include <unistd.h>
#include <cstdlib>
#include <map>
#include <utility>

using namespace mp_test;

namespace {

void put_and_stay(int who, int items, mp::sender<int> out, mp::sender<note> notes) {
  for (int i = 0; i < items; ++i) out.put(who * items + i);
  notes.put({who, "put"});
  stay();
}

void get_until_the_end(int who, mp::receiver<int> in, mp::sender<note> notes) {
  std::int64_t got = 0, sum = 0;
  const std::string end = outcome_of([&] {
    for (;;) {
      sum += in.get();
      ++got;
    }
  });
  const std::int64_t when = now_ns();
  notes.put({who, end, got, when});
  notes.put({who, "sum", sum});
}

void put_until_the_end(int who, mp::sender<std::string> out, mp::sender<note> notes) {
  std::int64_t put = 0;
  const std::string end = outcome_of([&] {
    for (;; ++put) out.put("some words of an item");
  });
  notes.put({who, end, put, now_ns()});
}

void get_one_and_stay(mp::receiver<std::string> in, mp::sender<note> notes) {
  in.get();
  notes.put({0, "got"});
  stay();
}

using request = std::string;
using result = std::string;

void answer_one_and_stay(mp::duplex_end<result, request> end, mp::sender<note> notes) {
  end.put(end.get() + ", done");
  notes.put({0, "answered"});
  stay();
}

// A round of talk, then the connection goes on to the next process.
void speak_and_pass_on(mp::connection c, mp::sender<mp::connection> next) {
  const auto heard = c.recv_bytes();
  c.send_bytes(heard);
  next.put(std::move(c));
}

void write_into_what_comes_along(mp::connection c, mp::sender<note> notes) {
  auto [bytes, fds] = c.recv_bytes_and_fds();
  const bool written = fds.size() == 1 && ::write(fds[0].get(), bytes.data(), bytes.size()) == std::ssize(bytes);
  notes.put({0, written ? "written" : "not written"});
  stay();
}

std::string as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// By a static object's destructor, say.
void get_behind_main() {
  static mp::queue<int> q;
  q.put(1);
  if (q.get() != 1) ::_exit(2);
  const auto again = [] {
    q.put(2);
    if (q.get() != 2) ::_exit(3);
  };
  if (std::atexit(again) != 0) ::_exit(4);
  std::exit(0);
}

}  // namespace

TEST_CASE("queue: every blocked get ends with closed after the last item when all producers die", "[queue][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  constexpr int producers = 2, consumers = 3, items = 100;
  std::vector<std::int64_t> latencies;
  for (int round = 0; round < rounds(5, 100); ++round) {
    mp::queue<int> q({.transport = over});
    mp::queue<note> notes;
    std::vector<mp::process> putting, getting;
    for (int i = 0; i < consumers; ++i)
      getting.push_back(mp::process{get_until_the_end, i, q.receiver(), notes.sender()}.start());
    for (int i = 0; i < producers; ++i)
      putting.push_back(mp::process{put_and_stay, i, items, q.sender(), notes.sender()}.start());
    q.close();
    for (int i = 0; i < producers; ++i) {
      REQUIRE_NOTE(n, notes);
      REQUIRE(n.what == "put");
    }
    for (const auto& p : getting) REQUIRE(falls_asleep(p.pid()));

    const std::int64_t killed = now_ns();
    for (auto& p : putting) p.kill();

    std::int64_t got = 0, sum = 0;
    for (int i = 0; i < 2 * consumers; ++i) {
      REQUIRE_NOTE(n, notes);
      if (n.what == "sum") {
        sum += n.number;
        continue;
      }
      CHECK(n.what == "closed");
      got += n.number;
      latencies.push_back(n.when - killed);
    }
    CHECK(got == producers * items);
    CHECK(sum == producers * items * (producers * items - 1) / 2);
    for (auto& p : getting) CHECK(p.join().success());
    for (auto& p : putting) CHECK(p.join() == mp::exit_status::signaled(SIGKILL));
  }
  CHECK_CLEAN(ledger);
  figure(std::string("row 5, ") + name_of(over) + ": death of all producers to closed: " + spread(latencies));
}

TEST_CASE("queue: every put into a full queue ends with closed when all consumers die", "[queue][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  constexpr int producers = 3, consumers = 2;
  std::vector<std::int64_t> latencies;
  for (int round = 0; round < rounds(5, 100); ++round) {
    mp::queue<std::string> q({.maxsize = 4, .transport = over});
    mp::queue<note> notes;
    std::vector<mp::process> putting, getting;
    for (int i = 0; i < consumers; ++i)
      getting.push_back(mp::process{get_one_and_stay, q.receiver(), notes.sender()}.start());
    for (int i = 0; i < producers; ++i)
      putting.push_back(mp::process{put_until_the_end, i, q.sender(), notes.sender()}.start());
    q.close();
    for (int i = 0; i < consumers; ++i) {
      REQUIRE_NOTE(n, notes);
      REQUIRE(n.what == "got");
    }
    for (const auto& p : putting) REQUIRE(falls_asleep(p.pid()));

    const std::int64_t killed = now_ns();
    for (auto& p : getting) p.kill();

    for (int i = 0; i < producers; ++i) {
      REQUIRE_NOTE(n, notes);
      CHECK(n.what == "closed");
      latencies.push_back(n.when - killed);
    }
    for (auto& p : putting) CHECK(p.join().success());
    for (auto& p : getting) CHECK(p.join() == mp::exit_status::signaled(SIGKILL));
  }
  CHECK_CLEAN(ledger);
  figure(std::string("row 6, ") + name_of(over) + ": death of all consumers to closed: " + spread(latencies));
}

TEST_CASE("queue: a put waits on as long as somebody who could get is alive", "[queue][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<std::string> q(4);
    mp::queue<note> notes;
    mp::process dies = mp::process{get_one_and_stay, q.receiver(), notes.sender()}.start();
    mp::process lives = mp::process{put_until_the_end, 1, q.sender(), notes.sender()}.start();
    REQUIRE_NOTE(got, notes);
    REQUIRE(got.what == "got");
    dies.kill();
    CHECK(dies.join() == mp::exit_status::signaled(SIGKILL));
    REQUIRE(falls_asleep(lives.pid()));

    // We still could get: first we do, and it goes on; then we leave, and it ends.
    for (int i = 0; i < 20; ++i) CHECK(q.get_for(patience).has_value());
    CHECK(lives.is_alive());
    q.close();
    REQUIRE_NOTE(end, notes);
    CHECK(end.what == "closed");
    CHECK(lives.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: a blocked side ends with peer_died when the other is killed, with closed when it leaves",
          "[pipe][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<note> notes;
    auto [in, out] = mp::pipe<int>({.transport = over});
    mp::process getting = mp::process{get_until_the_end, 0, std::move(in), notes.sender()}.start();
    mp::process putting = mp::process{put_and_stay, 0, 7, std::move(out), notes.sender()}.start();
    REQUIRE_NOTE(put, notes);
    REQUIRE(falls_asleep(getting.pid()));
    putting.kill();
    REQUIRE_NOTE(end, notes);
    CHECK(end.what == "peer_died");
    CHECK(end.number == 7);
    CHECK(getting.join().success());
    CHECK(putting.join() == mp::exit_status::signaled(SIGKILL));
  }
  {
    mp::queue<note> notes;
    auto [in, out] = mp::pipe<std::string>({.maxsize = 2, .transport = over});
    mp::process putting = mp::process{put_until_the_end, 0, std::move(out), notes.sender()}.start();
    mp::process getting = mp::process{get_one_and_stay, std::move(in), notes.sender()}.start();
    REQUIRE_NOTE(got, notes);
    REQUIRE(falls_asleep(putting.pid()));
    getting.kill();
    REQUIRE_NOTE(end, notes);
    CHECK(end.what == "peer_died");
    CHECK(putting.join().success());
  }
  {
    mp::queue<note> notes;
    auto [in, out] = mp::pipe<int>({.transport = over});
    mp::process getting = mp::process{get_until_the_end, 0, std::move(in), notes.sender()}.start();
    REQUIRE(falls_asleep(getting.pid()));
    out.put(1);
    out.close();
    REQUIRE_NOTE(end, notes);
    CHECK(end.what == "closed");
    CHECK(end.number == 1);
    CHECK(getting.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: a result arrives although its worker was killed with an unread request", "[pipe][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  int lost = 0;
  const int kills = rounds(20, 500);
  for (int round = 0; round < kills; ++round) {
    auto [mine, theirs] = mp::duplex_pipe<request, result>({.transport = over});
    mp::queue<note> notes;
    mp::process worker = mp::process{answer_one_and_stay, std::move(theirs), notes.sender()}.start();
    mine.put("first");
    mine.put("never read");
    REQUIRE_NOTE(answered, notes);
    worker.kill();
    REQUIRE(worker.join() == mp::exit_status::signaled(SIGKILL));

    const std::string got = outcome_of([&] { CHECK(mine.get() == "first, done"); });
    if (got != "nothing") ++lost;
    CHECK_ERRC(mine.get_for(patience), peer_died);
    // The ring looks now and then whether its reader is alive: some puts may pass before that.
    CHECK(outcome_of([&] {
            for (int i = 0; i < 1000; ++i) mine.put("nobody is there");
          }) == "peer_died");
  }
  CHECK(lost == 0);
  CHECK_CLEAN(ledger);
  figure(std::string("row 16, ") + name_of(over) + ": " + std::to_string(kills) + " kills with an unread request, " +
         std::to_string(lost) + " results lost");
}

TEST_CASE("connection: an end goes to a process, and from there to another, and speaks both ways in each",
          "[connection][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    auto [mine, theirs] = mp::connection::pair({.transport = over});
    mp::queue<mp::connection> next;
    mp::queue<note> notes;
    mp::process first = mp::process{speak_and_pass_on, std::move(theirs), next.sender()}.start();
    mine.send_bytes("over the border");
    const auto answer = mine.recv_bytes_for(patience);
    REQUIRE(answer);
    CHECK(as_text(*answer) == "over the border");
    auto back = next.get_for(patience);
    REQUIRE(back);
    CHECK(first.join().success());

    mp::process second = mp::process{write_into_what_comes_along, std::move(*back), notes.sender()}.start();
    const fact_pipe facts;
    const int fds[] = {facts.write_fd()};
    mine.send_bytes(std::as_bytes(std::span("w", 1)), fds);
    REQUIRE_NOTE(told, notes);
    CHECK(told.what == "written");
    CHECK(facts.hear() == 'w');

    second.kill();
    CHECK(second.join() == mp::exit_status::signaled(SIGKILL));
    CHECK_ERRC(mine.recv_bytes_for(patience), peer_died);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("channel: a queue serves who comes after the destructors of its thread", "[channel][faults]") {
  mp::process p{get_behind_main};
  p.start();
  const auto status = p.join_for(patience);
  REQUIRE(status);
  CHECK(status->success());
}
