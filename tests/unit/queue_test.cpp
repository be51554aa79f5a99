// The typed faces of queues and pipes: what does not depend on the transport is tried between threads.

#include "mp/queue.hpp"
#include "mp/pipe.hpp"

#include "support/catch.hpp"
#include "support/patience.hpp"

#include <concepts>
#include <iterator>
#include <list>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using mp_test::patience;
using namespace std::chrono_literals;

namespace {

constexpr mp::pipe_options local_pipe{.transport = mp::transport::local};
mp::queue_options local(std::ptrdiff_t maxsize = 0) { return {.maxsize = maxsize, .transport = mp::transport::local}; }

}  // namespace

// A value that cannot be read when it is negative.
struct picky {
  int n = 0;
};
template <>
struct mp::codec<picky> {
  static int encode(const picky& p) {
    if (p.n == 666) throw std::runtime_error("cannot be written");
    return p.n;
  }
  static picky decode(int&& n) {
    if (n < 0) throw std::runtime_error("cannot be read");
    return {n};
  }
};

static_assert(std::copyable<mp::queue<int>> && std::copyable<mp::joinable_queue<int>>);
static_assert(!std::copy_constructible<mp::sender<int>> && std::movable<mp::sender<int>>);
static_assert(!std::copy_constructible<mp::receiver<int>> && std::movable<mp::receiver<int>>);
static_assert(!std::copy_constructible<mp::duplex_end<int, long>> && std::movable<mp::duplex_end<int, long>>);
static_assert(std::convertible_to<const mp::queue<int>&, mp::sender<int>>);
static_assert(std::convertible_to<const mp::queue<int>&, mp::receiver<int>>);
static_assert(!std::convertible_to<const mp::queue<int>&, mp::sender<long>>);
static_assert(!std::convertible_to<const mp::joinable_queue<int>&, mp::sender<int>>);
static_assert(std::ranges::input_range<mp::queue<int>> && std::ranges::input_range<const mp::receiver<std::string>>);
static_assert(mp::sendable<mp::queue<int>> && mp::sendable<std::vector<mp::sender<std::string>>>);
static_assert(mp::sendable<mp::duplex_end<int, mp::queue<long>>>);
static_assert(!std::constructible_from<mp::queue<int>, bool>);
static_assert(mp::detail::is_given_away<std::vector<mp::sender<int>>> && !mp::detail::is_given_away<mp::queue<int>>);
static_assert(mp::detail::type_hash<mp::queue<int>>() != mp::detail::type_hash<mp::joinable_queue<int>>());
static_assert(mp::detail::type_hash<mp::queue<int>>() != mp::detail::type_hash<mp::queue<long>>());

TEST_CASE("queue: a bound of any integral type is taken, a negative one throws invalid_argument", "[queue][unit]") {
  CHECK(mp::queue<int>(3).maxsize() == 3);
  CHECK(mp::queue<int>(3u).maxsize() == 3);
  CHECK(mp::queue<int>(std::size_t{3}).maxsize() == 3);
  CHECK(mp::queue<int>().maxsize() == 0);
  CHECK_ERRC(mp::queue<int>(-1), invalid_argument);
  CHECK(mp_test::what_of([] { return mp::queue<int>(-1); }).find("-1") != std::string::npos);
}

TEST_CASE("queue: copies are the same queue, a moved-from one is closed", "[queue][unit]") {
  mp::queue<int> q(local());
  auto copy = q;
  auto moved = std::move(q);
  copy.put(1);
  CHECK(moved.get() == 1);
  CHECK_ERRC(q.try_get(), closed);
  q = copy;
  q.put(2);
  CHECK(copy.get() == 2);
}

TEST_CASE("queue: get, put and their ends say who was called and what to do", "[queue][unit]") {
  mp::queue<int> q(local());
  q.close_sender();
  CHECK(mp_test::what_of([&] { return q.put(1), 0; }).find("close_sender") != std::string::npos);
  CHECK(mp_test::what_of([&] { return q.get(); }).find("queue: get") == 0);
  q.close();
  CHECK(mp_test::what_of([&] { return q.get(); }).find("closed, moved from or default-constructed") !=
        std::string::npos);
}

TEST_CASE("queue: put_many puts a range in order and gives the number", "[queue][unit]") {
  mp::queue<std::string> q(local());
  CHECK(q.put_many(std::list<std::string>{"a", "b", "c"}) == 3);
  CHECK(q.put_many(std::vector<const char*>{"d"}) == 1);
  CHECK(q.put_many(std::vector<std::string>{}) == 0);
  CHECK(q.put_many(std::views::iota(0, 2) | std::views::transform([](int i) { return std::to_string(i); })) == 2);
  CHECK(q.get_many(100) == std::vector<std::string>{"a", "b", "c", "d", "0", "1"});
}

TEST_CASE("queue: put_many gives the number when the codec of a later item throws, and its error for the first",
          "[queue][unit]") {
  mp::queue<picky> q(local());
  CHECK(q.put_many(std::vector<picky>{{1}, {2}, {666}, {3}}) == 2);
  CHECK(q.size() == 2);
  CHECK_THROWS_AS(q.put_many(std::vector<picky>{{666}, {3}}), std::runtime_error);
  CHECK(q.size() == 2);
}

TEST_CASE("queue: put_many throws only when it has put nothing", "[queue][unit]") {
  mp::queue<picky> q(local());
  CHECK(q.put_many(std::vector<picky>{{1}, {2}}) == 2);
  q.shutdown();
  CHECK_ERRC(q.put_many(std::vector<picky>{{3}}), closed);
}

TEST_CASE("queue: an item whose codec throws on put leaves the queue as it was", "[queue][unit]") {
  mp::queue<picky> q(local());
  CHECK_THROWS(q.put({666}));
  CHECK(q.empty());
  q.put({1});
  CHECK(q.get().n == 1);
}

TEST_CASE("queue: an item that cannot be read throws undecodable once, the next one comes", "[queue][unit]") {
  mp::queue<picky> q(local());
  q.put_many(std::vector<picky>{{1}, {-1}, {2}});
  CHECK(q.get().n == 1);
  CHECK_ERRC(q.get(), undecodable);
  CHECK(q.get().n == 2);
}

TEST_CASE("queue: get_many gives what could be read before it throws undecodable", "[queue][unit]") {
  mp::queue<picky> q(local());
  q.put_many(std::vector<picky>{{1}, {2}, {-1}, {3}});
  const auto first = q.get_many(10);
  REQUIRE(first.size() == 2);
  CHECK_ERRC(q.get_many(10), undecodable);
  CHECK(q.get_many(10).at(0).n == 3);
}

TEST_CASE("queue: the iterator waits in == and *, never in ++", "[queue][unit]") {
  mp::queue<int> q(local());
  q.put(1);
  auto it = q.begin();
  CHECK(*it == 1);
  CHECK(*it == 1);
  ++it;  // nothing is there, and it comes back
  q.put(2);
  CHECK(it != q.end());
  CHECK(*it == 2);
  q.shutdown();
  ++it;
  CHECK(it == q.end());
  CHECK(it == q.end());
}

TEST_CASE("queue: move-only values without handles may be put as they are", "[queue][unit]") {
  mp::queue<std::unique_ptr<int>> q(local());
  const auto value = std::make_unique<int>(7);
  q.put(value);
  q.put(std::make_unique<int>(8));
  CHECK(*value == 7);
  CHECK(*q.get() == 7);
  CHECK(*q.get() == 8);
}

TEST_CASE("pipe: its two ends are bound by name and by structure", "[pipe][unit]") {
  auto [in, out] = mp::pipe<int>(local_pipe);
  auto ends = mp::pipe<int>(local_pipe);
  out.put(1);
  ends.sender.put(2);
  CHECK(in.get() == 1);
  CHECK(ends.receiver.get() == 2);
}

TEST_CASE("duplex_pipe: what one end puts the other gets, both ways", "[pipe][unit]") {
  auto [a, b] = mp::duplex_pipe<int, std::string>(local_pipe);
  a.put(5);
  CHECK(b.get() == 5);
  b.put("five");
  CHECK(a.get() == "five");
  CHECK(a.try_get() == std::nullopt);
  b.close();
  CHECK_ERRC(a.get(), closed);
  CHECK_ERRC(a.put(6), closed);
}

TEST_CASE("duplex_end: split gives its halves and closes it", "[pipe][unit]") {
  auto [a, b] = mp::duplex_pipe<int, int>(local_pipe);
  auto [s, r] = std::move(a).split();
  s.put(1);
  CHECK(b.get() == 1);
  b.put(2);
  CHECK(r.get() == 2);
  CHECK_ERRC(a.put(3), closed);
}

TEST_CASE("pipe: ends travel through pipes and go on where they arrive", "[pipe][unit]") {
  auto [in, out] = mp::pipe<std::vector<mp::receiver<int>>>();
  auto inner = mp::pipe<int>();
  inner.sender.put(1);
  std::vector<mp::receiver<int>> message;
  message.push_back(std::move(inner.receiver));
  out.put(std::move(message));
  CHECK(message.empty());
  const auto got = in.get();
  inner.sender.put(2);
  CHECK(got.at(0).get() == 1);
  CHECK(got.at(0).get() == 2);
}

TEST_CASE("pipe: a closed end cannot be sent", "[pipe][unit]") {
  auto [in, out] = mp::pipe<mp::sender<int>>();
  CHECK_ERRC(out.put(mp::sender<int>()), closed);
  CHECK(in.try_get() == std::nullopt);
}

TEST_CASE("queue: a handle that arrives as another kind of handle throws type_mismatch", "[queue][unit]") {
  mp::queue<int> q;
  auto message = mp::detail::encode_to_buffer(q);
  mp::detail::decoder d(message.bytes, std::move(message.fds));
  CHECK_ERRC(mp::detail::decode<mp::joinable_queue<int>>(d), type_mismatch);
}

TEST_CASE("SimpleQueue: empty, get and close behave as Python's", "[queue][unit]") {
  mp::queue<int> q;
  CHECK(q.empty());
  q.put(1);
  CHECK_FALSE(q.empty());
  CHECK(q.get() == 1);
  CHECK(q.empty());
  q.close();
  q.close();  // twice is fine
  CHECK_ERRC(q.put(1), closed);
  CHECK_ERRC(q.get(), closed);
}
