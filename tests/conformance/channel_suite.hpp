#pragma once
// The promises that every transport keeps, and a table of those that only some keep: each yes and each no is tested.
// Include it once per program, after `tested` and `can` are defined in namespace conformance.

#include "mp/pipe.hpp"
#include "mp/queue.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cstring>
#include <limits>
#include <map>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace conformance {

using mp_test::patience;
using namespace std::chrono_literals;

inline mp::queue_options bounded(std::ptrdiff_t maxsize) { return {.maxsize = maxsize, .transport = tested}; }
template <class T>
mp::queue<T> make_queue(mp::queue_options o = {}) {
  o.transport = tested;
  return mp::queue<T>(o);
}
template <class T>
mp::pipe_ends<T> make_pipe(mp::pipe_options o = {}) {
  o.transport = tested;
  return mp::pipe<T>(o);
}

// Everything that is there, batch by batch.
template <class C>
auto drain(const C& c) {
  auto all = c.get_many(100);
  for (auto more = c.try_get_many(100); !more.empty(); more = c.try_get_many(100))
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

struct record {
  int number = 0;
  std::string name;
  std::vector<double> values;
  friend bool operator==(const record&, const record&) = default;
};

// ---- order and content

TEST_CASE("queue: items of one producer come out in the order of their puts", "[queue][conformance]") {
  auto q = make_queue<int>();
  for (int i = 0; i < 1000; ++i) q.put(i);
  for (int i = 0; i < 1000; ++i) REQUIRE(q.get() == i);
  CHECK(q.try_get() == std::nullopt);
}

TEST_CASE("pipe: what was put is what comes out, for every length", "[pipe][conformance]") {
  auto [in, out] = make_pipe<std::string>();
  const std::vector<std::size_t> lengths{0,    1,    7,    8,    9,    63,    64,    1000,  1014,    1015,     1016,
                                         1017, 1024, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, 5'000'001};
  std::jthread producer([&, s = std::move(out)] {
    for (const std::size_t n : lengths) s.put(std::string(n, static_cast<char>('a' + n % 26)));
  });
  for (const std::size_t n : lengths) {
    const auto text = in.get_for(patience);
    REQUIRE(text.has_value());
    REQUIRE(*text == std::string(n, static_cast<char>('a' + n % 26)));
  }
  CHECK_ERRC(in.get(), closed);
}

TEST_CASE("queue: records with strings and vectors arrive as they were", "[queue][conformance]") {
  auto q = make_queue<record>();
  const record r{42, "bob", {1.5, 2.5}};
  q.put(r);
  CHECK(q.get() == r);
}

TEST_CASE("queue: an item belongs to its receiver, later changes of the sender are not seen", "[queue][conformance]") {
  auto q = make_queue<std::vector<int>>();
  std::vector<int> v{1, 2, 3};
  q.put(v);
  v[0] = 99;
  CHECK(q.get() == std::vector<int>{1, 2, 3});
}

TEST_CASE("queue: many producers and consumers lose nothing and see each producer in order", "[queue][conformance]") {
  auto q = make_queue<std::pair<int, int>>({.maxsize = 64});
  constexpr int producers = 3, each = 2000;
  std::atomic<long> sum{0};
  std::atomic<int> count{0}, disorder{0};
  {
    std::vector<std::jthread> threads;
    for (int c = 0; c < 2; ++c)
      threads.emplace_back([&, r = q.receiver()] {
        std::map<int, int> last;
        for (auto& [who, n] : r) {
          if (auto& l = last[who]; n < l)
            ++disorder;
          else
            l = n;
          sum += n;
          ++count;
        }
      });
    for (int p = 0; p < producers; ++p)
      threads.emplace_back([p, s = q.sender()] {
        for (int i = 1; i <= each; ++i) s.put({p, i});
      });
    q.close();
  }
  CHECK(count == producers * each);
  CHECK(sum == producers * (long{each} * (each + 1) / 2));
  CHECK(disorder == 0);
}

// ---- waiting

TEST_CASE("queue: a put on a full queue gives false when time is up and takes nothing", "[queue][conformance]") {
  auto q = make_queue<int>(bounded(2));
  q.put(1);
  CHECK_FALSE(q.full());
  q.put(2);
  CHECK(q.full());
  CHECK_FALSE(q.try_put(3));
  CHECK_FALSE(q.put_for(3, 1ms));
  CHECK_FALSE(q.put_until(3, std::chrono::steady_clock::now() - 1h));
  CHECK(q.size() == 2);
  CHECK(q.get() == 1);
  CHECK(q.try_put(3));
  CHECK(drain(q) == std::vector<int>{2, 3});
}

TEST_CASE("queue: a get on an empty queue gives nothing when time is up", "[queue][conformance]") {
  auto q = make_queue<int>();
  CHECK(q.empty());
  CHECK(q.try_get() == std::nullopt);
  CHECK(q.get_for(1ms) == std::nullopt);
  CHECK(q.get_for(-1h) == std::nullopt);
  CHECK(q.get_until(std::chrono::steady_clock::now()) == std::nullopt);
  CHECK(q.try_get_many(5).empty());
}

TEST_CASE("queue: a limit without end waits until the item comes", "[queue][conformance]") {
  auto q = make_queue<int>();
  std::jthread other([&] { q.put(7); });
  CHECK(q.get_for(std::chrono::hours::max()) == 7);
}

TEST_CASE("queue: a put that waits goes on when a get makes room", "[queue][conformance]") {
  auto q = make_queue<int>(bounded(1));
  q.put(1);
  std::jthread producer([&] { q.put(2); });
  CHECK(q.get() == 1);
  CHECK(q.get_for(patience) == 2);
}

TEST_CASE("queue: a byte bound holds puts back, a message above it is taken when it is alone", "[queue][conformance]") {
  auto q = make_queue<std::string>({.max_bytes = 256 * 1024});
  const std::string large(1 << 20, 'x');
  REQUIRE(q.try_put(large));
  CHECK_FALSE(q.try_put(large));
  CHECK(q.get() == large);
  CHECK(q.try_get() == std::nullopt);  // what was got is no longer in hand
  CHECK(q.try_put(large));
}

TEST_CASE("queue: size counts what was put and not yet taken", "[queue][conformance]") {
  auto q = make_queue<int>({.maxsize = 2});
  CHECK(q.size() == 0);
  CHECK(q.empty());
  q.put(1);
  CHECK(q.size() == 1);
  CHECK_FALSE(q.full());
  q.put(2);
  CHECK(q.size() == 2);
  CHECK(q.full());
  CHECK(q.get() == 1);
  CHECK(q.size() == 1);
  CHECK(q.get() == 2);
  CHECK(q.empty());
}

TEST_CASE("pipe: maxsize bounds the items that wait", "[pipe][conformance]") {
  auto [in, out] = make_pipe<int>({.maxsize = 3});
  CHECK(out.try_put(1));
  CHECK(out.try_put(2));
  CHECK(out.try_put(3));
  CHECK_FALSE(out.try_put(4));
  CHECK(in.get() == 1);
  CHECK(out.try_put(4));
  CHECK(drain(in) == std::vector<int>{2, 3, 4});
}

}  // namespace conformance
