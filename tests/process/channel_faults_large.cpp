// Messages so large that somebody dies, or that a counter overflows, in the middle. FAULTS rows 14, 15, 45.
// Must not hold more than three copies of the largest message at a time.

#include "channel_faults.hpp"

#include <malloc.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <numeric>
#include <random>
#include <thread>
#include <utility>

using namespace mp_test;
using namespace mp::literals;

namespace {

using words = std::vector<std::uint64_t>;

// Different at every place, so that a part that is missing, doubled or moved shows.
std::uint64_t word_at(std::uint64_t seed, std::uint64_t i) { return (i + seed) * 0x9e3779b97f4a7c15; }

words make_words(std::uint64_t seed, std::size_t bytes) {
  words w(bytes / sizeof(std::uint64_t));
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = word_at(seed, i);
  return w;
}
bool are_right(const words& w, std::uint64_t seed, std::size_t bytes) {
  if (w.size() != bytes / sizeof(std::uint64_t)) return false;
  for (std::size_t i = 0; i < w.size(); ++i)
    if (w[i] != word_at(seed, i)) return false;
  return true;
}

void put_large(std::uint64_t seed, std::size_t bytes, mp::sender<words> out, mp::sender<note> notes) {
  const words w = make_words(seed, bytes);
  notes.put({0, "ready"});
  const std::string end = outcome_of([&] {
    for (;;) out.put(w);
  });
  notes.put({0, end});
}

void get_large(std::uint64_t seed, std::size_t bytes, mp::receiver<words> in, mp::sender<note> notes) {
  const std::size_t before = resident(::getpid(), "RssAnon:") + resident(::getpid(), "RssShmem:");
  notes.put({1, "ready"});
  std::int64_t wrong = 0, got = 0;
  const std::string end = outcome_of([&] {
    for (;; ++got)
      if (!are_right(in.get(), seed, bytes)) ++wrong;
  });
  const std::string again = outcome_of([&] { in.get(); });
  in.close();
  const std::size_t after = resident(::getpid(), "RssAnon:") + resident(::getpid(), "RssShmem:");
  notes.put({1, "wrong", wrong});
  notes.put({1, again == end ? end : end + " and then " + again, got});
  notes.put({1, "kept", after > before ? static_cast<std::int64_t>(after - before) : 0});
}

void echo(mp::duplex_end<int, int> end) {
  for (const int i : end) end.put(i);
}

void put_one_large(std::uint64_t seed, std::size_t bytes, mp::sender<words> out) { out.put(make_words(seed, bytes)); }

void put_small_ones(std::size_t bytes, mp::sender<std::array<std::uint64_t, 8>> out) {
  for (std::uint64_t i = 0; i < bytes / 64; ++i) out.put({i, i + 1, i + 2, i + 3, i + 4, i + 5, i + 6, i + 7});
}

void receive_handles(int count, mp::receiver<mp::sender<int>> in, mp::sender<note> notes) {
  std::size_t before = 0;
  for (int i = 0; i < count; ++i) {
    if (i == count / 5) before = ::mallinfo2().uordblks;
    in.get().put(i);
  }
  notes.put({0, "grew", static_cast<std::int64_t>(::mallinfo2().uordblks) - static_cast<std::int64_t>(before)});
}

}  // namespace

TEST_CASE("pipe: a sender killed in a large message leaves nothing of it, and gives its memory back",
          "[pipe][faults][large]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  const std::size_t bytes = long_form() ? 1_GiB : 64_MiB;
  const int kills = rounds(3, 20);
  std::mt19937_64 random(14);
  int partial = 0;
  std::int64_t kept = 0;
  for (int round = 0; round < kills; ++round) {
    const std::size_t kill_at = random() % bytes;
    CAPTURE(round, kill_at);
    auto [in, out] = mp::pipe<words>({.transport = over});
    mp::queue<note> notes;
    const auto seed = static_cast<std::uint64_t>(round);
    mp::process getting = mp::process{get_large, seed, bytes, std::move(in), notes.sender()}.start();
    REQUIRE_NOTE(first, notes);
    const std::size_t base = resident(getting.pid(), "RssAnon:");
    mp::process putting = mp::process{put_large, seed, bytes, std::move(out), notes.sender()}.start();
    REQUIRE_NOTE(second, notes);
    // What has left the sender shows in its shared memory, or as memory of the receiver.
    REQUIRE(eventually(
        [&] {
          const std::size_t there = resident(getting.pid(), "RssAnon:");
          return resident(putting.pid(), "RssShmem:") + (there > base ? there - base : 0) >= kill_at;
        },
        long_patience));
    putting.kill();

    REQUIRE_NOTE(wrong, notes);
    REQUIRE_NOTE(end, notes);
    REQUIRE_NOTE(memory, notes);
    if (wrong.number != 0) ++partial;
    CHECK(end.what == "peer_died");
    if (!mp_test::address_sanitizer) CHECK(memory.number < std::int64_t{8 << 20});  // it keeps what is freed
    kept = std::max(kept, memory.number);
    CHECK(putting.join() == mp::exit_status::signaled(SIGKILL));
    CHECK(getting.join().success());
  }
  CHECK(partial == 0);
  CHECK_CLEAN(ledger);
  figure(std::string("row 14, ") + name_of(over) + ": " + std::to_string(kills) + " kills in messages of " +
         std::to_string(bytes >> 20) + " MiB, " + std::to_string(partial) + " partial, at most " +
         std::to_string(kept >> 10) + " KiB kept");
}

TEST_CASE("pipe: a sender of a large message ends with peer_died when its receiver is killed",
          "[pipe][faults][large]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  const std::size_t bytes = long_form() ? 1_GiB : 64_MiB;
  const int kills = rounds(3, 20);
  std::mt19937_64 random(15);
  for (int round = 0; round < kills; ++round) {
    const std::size_t kill_at = random() % bytes;
    CAPTURE(round, kill_at);
    auto [in, out] = mp::pipe<words>({.max_bytes = 1_MiB, .transport = over});
    mp::queue<note> notes;
    mp::process getting = mp::process{get_large, 0, bytes, std::move(in), notes.sender()}.start();
    REQUIRE_NOTE(first, notes);
    const std::size_t base = resident(getting.pid(), "RssAnon:");
    mp::process putting = mp::process{put_large, 0, bytes, std::move(out), notes.sender()}.start();
    REQUIRE_NOTE(second, notes);
    REQUIRE(eventually([&] { return resident(getting.pid(), "RssAnon:") >= base + kill_at; }, long_patience));
    getting.kill();

    REQUIRE_NOTE(end, notes);
    CHECK(end.what == "peer_died");
    CHECK(putting.join().success());
    CHECK(getting.join() == mp::exit_status::signaled(SIGKILL));
  }
  CHECK_CLEAN(ledger);
  figure(std::string("row 15, ") + name_of(over) + ": " + std::to_string(kills) + " receivers killed in messages of " +
         std::to_string(bytes >> 20) + " MiB, 0 senders hung");
}

TEST_CASE("pipe: a message of gigabytes arrives bit by bit, and delays nobody else", "[pipe][faults][large]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const std::size_t bytes = long_form() ? 3_GiB : 96_MiB;
  if (available_memory() < 4 * bytes + 1_GiB) MP_SKIP("a message of " << (bytes >> 20) << " MiB needs more memory");
  const fd_ledger ledger = holdings_now();
  {
    auto [mine, theirs] = mp::duplex_pipe<int, int>();
    mp::process answering = mp::process{echo, std::move(theirs)}.start();
    std::atomic<bool> done = false;
    const auto ping = [&](std::vector<std::int64_t>& times, auto go_on) {
      int wrong = 0;
      for (int i = 0; go_on(i); ++i) {
        const std::int64_t begin = now_ns();
        mine.put(i);
        if (mine.get_for(patience) != i) ++wrong;
        times.push_back(now_ns() - begin);
      }
      return wrong;
    };
    std::vector<std::int64_t> quiet, beside;
    CHECK(ping(quiet, [](int i) { return i < 2000; }) == 0);

    auto [in, out] = mp::pipe<words>({.transport = over});
    mp::process putting = mp::process{put_one_large, 45, bytes, std::move(out)}.start();
    int wrong = 0;
    std::thread pinging([&] { wrong = ping(beside, [&](int) { return !done.load(); }); });
    const std::int64_t begin = now_ns();
    const std::optional<words> got = in.get_for(2 * long_patience);
    const std::int64_t took = now_ns() - begin;
    done = true;
    pinging.join();
    REQUIRE(got.has_value());
    CHECK(are_right(*got, 45, bytes));
    CHECK(wrong == 0);
    CHECK(putting.join().success());
    mine.close();
    CHECK(answering.join().success());
    figure(std::string("row 45, ") + name_of(over) + ": " + std::to_string(bytes >> 20) + " MiB at " +
           std::to_string(static_cast<double>(bytes) / static_cast<double>(took)) + " GB/s with their making; ping " +
           spread(quiet) + ", beside it " + spread(beside));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("handles: a process that only receives them keeps no memory of those that are gone", "[queue][faults]") {
  const fd_ledger ledger = holdings_now();
  {
    constexpr int count = 1000;
    mp::queue<mp::sender<int>> handles;
    mp::queue<note> notes;
    mp::process receiving = mp::process{receive_handles, count, handles.receiver(), notes.sender()}.start();
    for (int i = 0; i < count; ++i) {
      mp::queue<int> q;
      handles.put(q.sender());
      REQUIRE(q.get_for(patience) == i);
    }
    REQUIRE_NOTE(grew, notes);
    CHECK(grew.number < 64 * 1024);
    CHECK(receiving.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("queue: a child puts 64 MiB of small items at the defaults and ends before anybody reads; all are there",
          "[queue][faults]") {
  const auto method =
      GENERATE(mp::start_method::forkserver, mp::start_method::spawn, mp::start_method::fork_with_threads);
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<std::array<std::uint64_t, 8>> q;
    mp::process p({.start_method = method}, put_small_ones, std::size_t{64_MiB}, q.sender());
    p.start();
    CHECK(p.join_for(2 * long_patience) == mp::exit_status::exited(0));
    CHECK(q.size() == 64_MiB / 64);
    std::uint64_t expected = 0, wrong = 0;
    for (const auto& item : q) {
      wrong += item[0] != expected || item[7] != expected + 7;
      ++expected;
    }
    CHECK(expected == 64_MiB / 64);
    CHECK(wrong == 0);
  }
  CHECK_CLEAN(ledger);
}
