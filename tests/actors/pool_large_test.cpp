// Large arguments, which a worker reads where the caller has written them: they arrive as they are whatever becomes of
// other tasks and other workers, their memory is used again only when nobody can read it any more, and is given back.

#include "pool_large.hpp"
#include "mp/error.hpp"
#include "mp/this_process.hpp"
#include "pool_tasks.hpp"
#include "support/child.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

std::int64_t number_of_first(int, const std::vector<std::uint64_t>& v, const std::string& tail) {
  return tail == "tail" ? number_of(v) : -2;
}
/// Answers from its third attempt on.
std::int64_t third_time(const std::vector<std::uint64_t>& v) {
  if (mp::this_task::attempt() < 3) end_by(end::kill);
  return number_of(v);
}
std::vector<std::uint64_t> back(std::vector<std::uint64_t> v) { return v; }
std::int64_t wait_and_number(std::stop_token stop, const std::vector<std::uint64_t>& v) {
  while (!stop.stop_requested()) std::this_thread::yield();
  return number_of(v);
}
std::int64_t fork_and_number(const std::vector<std::uint64_t>& v) {
  const forked_child copy([&] { return number_of(v) < 0 ? 1 : 0; });
  return number_of(v);
}
std::int64_t nested(const std::vector<std::uint64_t>& v) { return mp::pool(1).apply(number_of, v); }

double sum_of(std::span<const double> v) { return std::accumulate(v.begin(), v.end(), 0.0); }
/// What lies in front of the numbers moves them.
double sum_behind(std::string_view front, const std::span<const double>& v, std::string_view tail) {
  return tail == "tail" ? sum_of(v) + static_cast<double>(front.size()) : -1;
}
std::string joined_views(std::string_view a, const std::string_view& b) {
  return std::string(a) + "|" + std::string(b);
}
int third_of(std::span<const int, 3> v) { return v[2]; }
bool is_whole(std::u16string_view text) { return text.empty() || (text.front() == u'a' && text.back() == u'z'); }
/// Is the argument looked at where it arrived? Numbers that were copied would lie in this process's heap.
bool lies_elsewhere(std::span<const double> v) {
  const auto heap = std::make_unique<char[]>(1);
  const auto is_writable = [](const void* p) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      unsigned long from = 0, to = 0;
      char rights[8] = {};
      if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, rights) != 3) continue;
      const auto at = reinterpret_cast<std::uintptr_t>(p);
      if (from <= at && at < to) return rights[1] == 'w';
    }
    return true;
  };
  return is_writable(heap.get()) && !is_writable(v.data());
}

struct adder {
  std::vector<std::uint64_t> state;
  std::int64_t operator()(int x) const { return number_of(state) + x; }
};

/// What the kernel holds for the pools of this process.
std::size_t pool_memory() {
  std::size_t sum = 0;
  DIR* const dir = ::opendir("/proc/self/fd");
  while (const dirent* const e = ::readdir(dir)) {
    char target[64] = {};
    struct stat info {};
    if (::readlinkat(::dirfd(dir), e->d_name, target, sizeof target - 1) > 0 && std::strstr(target, "mp:pool") &&
        ::fstat(std::atoi(e->d_name), &info) == 0)
      sum += static_cast<std::size_t>(info.st_blocks) * 512;
  }
  ::closedir(dir);
  return sum;
}

}  // namespace

TEST_CASE("pool: large arguments of every size arrive whole, by every way", "[pool][large]") {
  const fd_ledger ledger;
  for (const auto method : {mp::start_method::forkserver, mp::start_method::spawn}) {
    mp::pool p({.workers = 2, .start_method = method});
    std::vector<std::vector<std::uint64_t>> in;
    std::vector<std::int64_t> numbers_in;
    for (const std::size_t bytes :
         {std::size_t{8}, 128 * kib - 64, 128 * kib, 256 * kib - 64, 256 * kib, mib, mib + 8, 9 * mib})
      for (int i = 0; i < 3; ++i) {
        numbers_in.push_back(static_cast<std::int64_t>(in.size()));
        in.push_back(argument(in.size(), bytes));
      }
    CHECK(p.map(number_of, in) == numbers_in);
    CHECK(p.map(number_of, in, {.chunk = 1}) == numbers_in);
    CHECK(p.map(number_of, in, {.chunk = 5}) == numbers_in);
    CHECK(p.map(back, in, {.chunk = 2}) == in);
    std::size_t at = 0;
    for (const auto& v : p.imap(back, in, {.chunk = 1})) CHECK(v == in[at++]);
    // With a key and a deadline in front, whose bytes are read before the worker has claimed the task.
    for (std::size_t i = 0; i < in.size(); ++i) {
      const mp::task_options options{.deadline = 60s, .key = std::string(i, 'k')};
      CHECK(p.apply(options, number_of_first, 1, in[i], "tail") == numbers_in[i]);
    }
    // The callable's own state.
    CHECK(p.map(adder{in.back()}, numbers(4), {.chunk = 1}) ==
          std::vector<std::int64_t>{numbers_in.back(), numbers_in.back() + 1, numbers_in.back() + 2,
                                    numbers_in.back() + 3});
    CHECK(p.apply(fork_and_number, in.back()) == numbers_in.back());
  }
  CHECK(mp::pool(1).apply(nested, argument(5, 3 * mib)) == 5);
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: views are looked at where they arrive, of every length and wherever that is", "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 2, .retry = {.attempts = 1}});
    std::vector<double> v;
    for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{100}, 40 * kib, 2 * mib}) {
      v.resize(n, 0.5);
      for (std::size_t front = 0; front < 10; ++front) {
        const double sum = 0.5 * static_cast<double>(n);
        CHECK(p.apply(sum_behind, std::string(front, 'f'), v, "tail") == sum + static_cast<double>(front));
        CHECK(p.apply({.key = std::string(front, 'k')}, sum_of, v) == sum);
      }
      CHECK(p.map(sum_of, std::vector(5, v), {.chunk = 3}) == std::vector(5, 0.5 * static_cast<double>(n)));
    }
    CHECK(p.apply(lies_elsewhere, v));
    CHECK(p.apply(joined_views, "", "b") == "|b");
    CHECK(p.apply(joined_views, std::string("a\0b", 3), std::string(mib, 'x')) ==
          std::string("a\0b|", 4) + std::string(mib, 'x'));
    CHECK(p.apply(is_whole, std::u16string(u"a") + std::u16string(300 * kib, u'-') + u"z"));
    CHECK(p.apply(is_whole, u""));
    CHECK(p.apply(third_of, std::array{1, 2, 3}) == 3);
    CHECK_ERRC(p.apply(third_of, std::vector{1, 2}), undecodable);
    CHECK(p.apply(third_of, std::vector{4, 5, 6}) == 6);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a large argument is there for the next attempt when its worker was killed", "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p({.workers = 2, .retry = {.attempts = 3, .idempotent = true}});
    std::vector<mp::future<std::int64_t>> all;
    for (std::uint64_t i = 0; i < 8; ++i) all.push_back(p.submit(third_time, argument(i, 4 * mib)));
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i].get() == static_cast<std::int64_t>(i));
    CHECK(p.stats().worker_deaths == 16);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: the memory of a large argument is not used again while somebody may read it", "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::minstd_rand random(11);
    // Tasks that are cancelled before they begin, while they run, or too late; others take their memory.
    for (std::uint64_t round = 0; round < 40; ++round) {
      std::vector<mp::future<std::int64_t>> kept, dropped;
      for (std::uint64_t i = 0; i < 6; ++i) {
        const std::uint64_t number = 10 * round + i;
        if (i % 3 == 0)
          dropped.push_back(p.submit(wait_and_number, argument(number, 2 * mib)));
        else
          (i % 3 == 1 ? kept : dropped).push_back(p.submit(number_of, argument(number, 2 * mib)));
      }
      for (std::size_t turns = random() % 200; turns != 0; --turns) std::this_thread::yield();
      for (auto& f : dropped) f.cancel();
      for (auto& f : dropped) {
        f.wait();
        // Stopped in time it may still answer: then with its own number.
        try {
          const std::int64_t number = f.get();
          CHECK(number >= static_cast<std::int64_t>(10 * round));
        } catch (const mp::error& e) {
          CHECK(e.code() == mp::errc::cancelled);
        }
      }
      for (std::size_t i = 0; i < kept.size(); ++i)
        CHECK(kept[i].get() == static_cast<std::int64_t>(10 * round + 3 * i + 1));
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: the memory of large arguments is given back, also while their futures are kept", "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p(2);
    std::vector<mp::future<std::int64_t>> all, busy;
    for (std::uint64_t i = 0; i < 2; ++i) busy.push_back(p.submit(wait_and_number, argument(i, 1)));
    for (std::uint64_t i = 0; i < 32; ++i) all.push_back(p.submit(number_of, argument(i, 8 * mib)));
    CHECK(pool_memory() > 32 * 8 * mib);
    for (auto& f : busy) f.cancel();
    for (auto& f : all) f.wait();
    CHECK(eventually([] { return pool_memory() < 66 * mib; }));  // whoever collected last may be at it
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i].get() == static_cast<std::int64_t>(i));

    // Of a map, too, which has read all of its input before.
    busy.clear();
    for (std::uint64_t i = 0; i < 2; ++i) busy.push_back(p.submit(wait_and_number, argument(i, 1)));
    auto map = p.map_async(number_of, std::vector(24, argument(3, 8 * mib)));
    CHECK(pool_memory() > 24 * 8 * mib);
    for (auto& f : busy) f.cancel();
    map.wait();
    CHECK(eventually([] { return pool_memory() < 66 * mib; }));  // whoever collected last may be at it
    CHECK(map.get() == std::vector<std::int64_t>(24, 3));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a worker brings no memory back that was given back with a cancelled argument", "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    CHECK(p.apply(number_of, argument(1, 1)) == 1);  // a function that is known to be short: more may wait in the lane
    auto busy = p.submit(wait_and_number, argument(1, 1));
    std::vector<mp::future<std::int64_t>> all;
    for (std::uint64_t i = 0; i < 24; ++i) all.push_back(p.submit(number_of, argument(i, 8 * mib)));
    for (auto& f : all) f.cancel();
    CHECK(eventually([] { return pool_memory() < 66 * mib; }));
    const std::size_t before = pool_memory();
    busy.cancel();
    CHECK(p.apply(number_of, argument(7, 1)) == 7);  // what waited in the lane has passed
    CHECK(pool_memory() <= before);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a pool that has ended keeps no memory of arguments, though futures know it", "[pool][large]") {
  const fd_ledger ledger;
  {
    std::optional<mp::future<std::int64_t>> kept;
    {
      mp::pool p(2);
      std::vector<mp::future<std::int64_t>> all;
      for (std::uint64_t i = 0; i < 4; ++i) all.push_back(p.submit(number_of, argument(i, 8 * mib)));
      for (auto& f : all) f.wait();
      kept = std::move(all.back());
    }
    CHECK(eventually([] { return pool_memory() < mib; }));
    CHECK(kept->get() == 3);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: what a copy of the caller made by fork does with the pool is nothing to the caller's tasks",
          "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    CHECK(p.apply(number_of, argument(1, 1)) == 1);
    auto busy = p.submit(wait_and_number, argument(1, 1));
    std::vector<mp::future<std::int64_t>> all;
    for (std::uint64_t i = 0; i < 3; ++i) all.push_back(p.submit(number_of, argument(i, i % 2 == 0 ? 1 : mib)));
    auto stream = p.imap(number_of, std::vector(3, argument(4, 1)));
    forked_child copy([&] {
      all.back().cancel();
      p.terminate();
      p.close();
      int refused = 0;
      const auto counts = [&](auto f) {
        try {
          f();
        } catch (const mp::error& e) {
          refused += e.code() == mp::errc::wrong_process;
        }
      };
      counts([&] { p.resize(2); });
      counts([&] { p.join(); });
      counts([&] { static_cast<void>(p.stats()); });
      counts([&] { static_cast<void>(p.dead_letters()); });
      counts([&] { static_cast<void>(*stream.begin()); });
      { const auto left = std::move(stream); }
      counts([&] { static_cast<void>(p.drain(1s)); });
      counts([&] { static_cast<void>(p.map(number_of, std::vector(2, argument(1, 1)))); });
      counts([&] { static_cast<void>(all[0].get()); });
      counts([&] { static_cast<void>(all[1].then([](std::int64_t n) { return n; })); });
      { const mp::pool gone(std::move(p)); }
      return refused == 9 ? 0 : 1;
    });
    CHECK(copy.wait() == 0);
    busy.cancel();
    for (const std::int64_t number : stream) CHECK(number == 4);
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i].get() == static_cast<std::int64_t>(i));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a copy of the caller made by fork is refused, and does not touch the caller's arguments",
          "[pool][large]") {
  const fd_ledger ledger;
  {
    mp::pool p(1);
    auto blocker = p.submit(wait_and_number, argument(1, mib));
    auto behind = p.submit(number_of, argument(2, 2 * mib));
    const auto other = argument(9, 2 * mib);
    forked_child copy([&] {
      try {
        static_cast<void>(p.submit(number_of, other));
        return 1;
      } catch (const mp::error& e) {
        return e.code() == mp::errc::wrong_process ? 0 : 2;
      }
    });
    CHECK(copy.wait() == 0);
    blocker.cancel();
    CHECK(behind.get() == 2);
  }
  CHECK_CLEAN(ledger);
}
