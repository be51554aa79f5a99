// wait over many things. The behaviours of Python's TestWait and TestInvalidHandle.

#include "mp/wait.hpp"
#include "mp/connection.hpp"
#include "mp/queue.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/patience.hpp"

#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <thread>
#include <vector>

using mp_test::patience;
using namespace std::chrono_literals;
using positions = std::vector<std::size_t>;

namespace {

const std::array transports{mp::transport::ring, mp::transport::socket, mp::transport::local};

}  // namespace

TEST_CASE("wait: gives the positions of all that are ready, ascending", "[wait][unit]") {
  for (const auto t : transports) {
    mp::queue<int> a({.transport = t}), b({.transport = t}), c({.transport = t});
    CHECK(mp::try_wait(a, b, c).empty());
    c.put(1);
    a.put(1);
    CHECK(mp::wait(a, b, c) == positions{0, 2});
    CHECK(a.get() == 1);
    CHECK(mp::wait_for(1h, a, b, c) == positions{2});
    CHECK(c.size() == 1);  // nothing was taken
  }
}

TEST_CASE("wait: a limit that passes gives nothing, a negative one looks once", "[wait][unit]") {
  for (const auto t : transports) {
    const mp::queue<int> q({.transport = t});
    CHECK(mp::wait_for(1ms, q).empty());
    CHECK(mp::wait_for(-1s, q).empty());
    CHECK(mp::wait_until(std::chrono::steady_clock::now() - 1h, q).empty());
    q.put(1);
    CHECK(mp::wait_for(-1s, q) == positions{0});
  }
}

TEST_CASE("wait: fans four pipes in until all have ended", "[wait][unit]") {
  for (const auto t : transports) {
    std::vector<mp::receiver<std::pair<int, int>>> readers;
    std::vector<std::jthread> writers;
    for (int w = 0; w < 4; ++w) {
      auto ends = mp::pipe<std::pair<int, int>>({.transport = t});
      readers.push_back(std::move(ends.receiver));
      writers.emplace_back([w, s = std::move(ends.sender)] {
        for (int i = 0; i < 10; ++i) s.put({w, i});
      });
    }
    std::vector<std::pair<int, int>> seen;
    while (!readers.empty()) {
      std::vector<mp::waitable> things(readers.begin(), readers.end());
      const auto ready = mp::wait_for(patience, things);
      REQUIRE_FALSE(ready.empty());
      for (auto at = ready.rbegin(); at != ready.rend(); ++at) try {
          if (auto item = readers[*at].try_get()) seen.push_back(*item);
        } catch (const mp::error& e) {
          REQUIRE(e.code() == mp::errc::closed);
          readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(*at));
        }
    }
    CHECK(seen.size() == 40);
  }
}

TEST_CASE("wait: connections, receivers, joinable queues, duplex ends and descriptors mix", "[wait][unit]") {
  auto [a, b] = mp::connection::pair();
  auto [in, out] = mp::pipe<int>();
  auto [left, right] = mp::duplex_pipe<int, int>();
  mp::joinable_queue<int> j;
  const mp_test::fact_pipe fact;
  CHECK(mp::try_wait(b, in, right, j, fact.read_fd()).empty());
  fact.tell();
  CHECK(mp::wait(b, in, right, j, fact.read_fd()) == positions{4});
  out.put(1);
  left.put(1);
  CHECK(mp::wait(b, in, right, j, fact.read_fd()) == positions{1, 2, 4});
  j.put(1);
  a.send_bytes("x");
  CHECK(mp::wait(b, in, right, j, fact.read_fd()) == positions{0, 1, 2, 3, 4});
}

TEST_CASE("wait: a wait that sleeps ends when a thread puts", "[wait][unit]") {
  for (const auto t : transports) {
    const mp::queue<int> quiet({.transport = t}), busy({.transport = t});
    std::jthread other([busy] { busy.put(1); });
    CHECK(mp::wait(quiet, busy) == positions{1});
  }
}

TEST_CASE("wait: a wait that sleeps ends when the other end leaves", "[wait][unit]") {
  for (const auto t : transports) {
    auto ends = mp::pipe<int>({.transport = t});
    std::jthread other([s = std::move(ends.sender)]() mutable { s.close(); });
    CHECK(mp::wait(ends.receiver) == positions{0});
    CHECK_ERRC(ends.receiver.get(), closed);
  }
}

TEST_CASE("wait: sockets fan in, an end counts as ready", "[wait][unit]") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  mp::unique_fd a(ends[0]), b(ends[1]);
  CHECK(mp::try_wait(a.get()).empty());
  REQUIRE(::write(b.get(), "x", 1) == 1);
  CHECK(mp::wait(a.get()) == positions{0});
  char c = 0;
  REQUIRE(::read(a.get(), &c, 1) == 1);
  b.reset();
  CHECK(mp::wait(a.get()) == positions{0});
}

TEST_CASE("wait: what is no descriptor, a closed handle or nothing at all is refused", "[wait][unit]") {
  CHECK_ERRC(mp::wait(-1), invalid_argument);
  CHECK_ERRC(mp::wait_for(1ms, 9999), invalid_argument);
  CHECK(mp_test::what_of([] { return mp::try_wait(9999); }).find("9999") != std::string::npos);
  CHECK_ERRC(mp::wait(std::span<const mp::waitable>()), invalid_argument);
  mp::queue<int> q;
  q.close();
  CHECK_ERRC(mp::wait(q), closed);
}
