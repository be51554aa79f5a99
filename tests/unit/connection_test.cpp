// Connections: messages of bytes. The behaviours of Python's _TestConnection, _TestPoll and TestInvalidHandle.

#include "mp/connection.hpp"
#include "mp/pipe.hpp"
#include "mp/queue.hpp"

#include "support/catch.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using mp_test::patience;
using namespace std::chrono_literals;

namespace {

std::vector<std::byte> bytes(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}
std::string text(const std::vector<std::byte>& b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

const std::array transports{mp::transport::ring, mp::transport::socket, mp::transport::local};
std::pair<mp::connection, mp::connection> pair(mp::transport t) { return mp::connection::pair({.transport = t}); }

}  // namespace

TEST_CASE("connection: messages keep their boundaries, both ways", "[connection][unit]") {
  for (const auto t : transports) {
    auto [a, b] = pair(t);
    a.send_bytes("one");
    a.send_bytes("");
    a.send_bytes("three");
    b.send_bytes("back");
    CHECK(text(b.recv_bytes()) == "one");
    CHECK(text(b.recv_bytes()).empty());
    CHECK(text(b.recv_bytes()) == "three");
    CHECK(text(a.recv_bytes()) == "back");
  }
}

TEST_CASE("connection: a message of 16 MiB arrives as it was sent", "[connection][unit]") {
  for (const auto t : transports) {
    auto ends = pair(t);
    const std::string large(16 * 1024 * 1024 + 1, 'x');
    std::jthread sender([&] { ends.first.send_bytes(large); });
    CHECK(text(ends.second.recv_bytes()) == large);
  }
}

TEST_CASE("connection: an empty message counts as data", "[connection][unit]") {
  for (const auto t : transports) {
    auto [a, b] = pair(t);
    CHECK_FALSE(b.poll());
    a.send_bytes("");
    CHECK(b.poll_for(patience));
    CHECK(b.recv_bytes().empty());
    CHECK_FALSE(b.poll());
  }
}

TEST_CASE("connection: poll consumes nothing, however often it is asked", "[connection][unit]") {
  for (const auto t : transports) {
    auto [a, b] = pair(t);
    a.send_bytes("hello");
    a.send_bytes("world");
    for (int i = 0; i < 10; ++i) CHECK(b.poll());
    CHECK(text(b.recv_bytes()) == "hello");
    for (int i = 0; i < 10; ++i) CHECK(b.poll_for(1h));
    CHECK(text(b.recv_bytes()) == "world");
    CHECK_FALSE(b.poll_for(1ms));
    CHECK_FALSE(b.poll_for(-1s));
    CHECK(b.try_recv_bytes() == std::nullopt);
    CHECK(b.recv_bytes_for(1ms) == std::nullopt);
  }
}

TEST_CASE("connection: poll_for ends with the message that another thread sends", "[connection][unit]") {
  for (const auto t : transports) {
    auto ends = pair(t);
    std::jthread sender([&] { ends.first.send_bytes("x"); });
    CHECK(ends.second.poll_for(std::chrono::hours::max()));
  }
}

TEST_CASE("connection: the end counts as something to poll, then recv throws closed", "[connection][unit]") {
  for (const auto t : transports) {
    auto [a, b] = pair(t);
    a.send_bytes("last");
    a.close();
    a.close();
    CHECK(a.is_closed());
    CHECK(b.poll());
    CHECK(text(b.recv_bytes()) == "last");
    CHECK(b.poll_for(patience));
    CHECK_ERRC(b.recv_bytes(), closed);
    CHECK_ERRC(b.try_recv_bytes(), closed);
    CHECK_ERRC(b.send_bytes("x"), closed);
    CHECK_ERRC(a.send_bytes("x"), closed);
    CHECK_ERRC(a.poll(), closed);
  }
}

TEST_CASE("connection: recv_bytes_into fills the buffer, a part of it too", "[connection][unit]") {
  auto [a, b] = mp::connection::pair();
  std::array<std::byte, 8> room{};
  a.send_bytes("abc");
  CHECK(b.recv_bytes_into(room) == 3);
  CHECK(std::to_integer<char>(room[2]) == 'c');
  a.send_bytes("xy");
  CHECK(b.recv_bytes_into(std::span(room).subspan(3)) == 2);
  CHECK(std::to_integer<char>(room[2]) == 'c');
  CHECK(std::to_integer<char>(room[4]) == 'y');
  a.send_bytes(std::string(8, 'z'));
  CHECK(b.recv_bytes_into(room) == 8);
}

TEST_CASE("connection: a buffer too short throws with the whole message, and the next one is whole",
          "[connection][unit]") {
  auto [a, b] = mp::connection::pair();
  std::array<std::byte, 4> room{};
  a.send_bytes("a longer message");
  a.send_bytes("next");
  try {
    b.recv_bytes_into(room);
    FAIL("nothing was thrown");
  } catch (const mp::buffer_too_short& e) {
    CHECK(e.code() == mp::errc::too_large);
    CHECK(text({e.message().begin(), e.message().end()}) == "a longer message");
    CHECK(std::string(e.what()).find("16") != std::string::npos);
  }
  CHECK(b.recv_bytes_into(room) == 4);
}

TEST_CASE("connection: descriptors travel along, ours stay open", "[connection][unit]") {
  const mp_test::fd_ledger ledger;
  for (const auto t : transports) {
    auto [a, b] = pair(t);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const mp::unique_fd in(ends[0]), out(ends[1]);
    const int fds[]{out.get(), in.get()};
    a.send_bytes(bytes("two"), fds);
    auto got = b.recv_bytes_and_fds();
    CHECK(text(got.bytes) == "two");
    REQUIRE(got.fds.size() == 2);
    REQUIRE(::write(got.fds[0].get(), "x", 1) == 1);
    char c = 0;
    CHECK(::read(got.fds[1].get(), &c, 1) == 1);
    CHECK(::fcntl(out.get(), F_GETFD) >= 0);
    // what a plain recv_bytes meets is closed
    a.send_bytes(bytes("again"), fds);
    CHECK(text(b.recv_bytes()) == "again");
    CHECK(b.recv_bytes_for(0s) == std::nullopt);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("connection: a descriptor above 256 travels, too", "[connection][unit]") {
  auto [a, b] = mp::connection::pair();
  const mp::unique_fd high(::fcntl(0, F_DUPFD_CLOEXEC, 600));
  if (!high) MP_SKIP("this machine allows no descriptor above 600");
  const int fds[]{high.get()};
  a.send_bytes(bytes("high"), fds);
  CHECK(b.recv_bytes_and_fds().fds.size() == 1);
}

TEST_CASE("connection: a number that is no descriptor throws invalid_argument and sends nothing",
          "[connection][unit]") {
  for (const auto t : transports) {
    auto [a, b] = pair(t);
    const int bad[]{-1};
    const int closed[]{9999};
    CHECK_ERRC(a.send_bytes(bytes("x"), bad), invalid_argument);
    CHECK_ERRC(a.send_bytes(bytes("x"), closed), invalid_argument);
    CHECK_FALSE(b.poll());
  }
}

TEST_CASE("connection: send_bytes_for gives false when there is no room in time", "[connection][unit]") {
  auto [a, b] = mp::connection::pair({.maxsize = 1});
  CHECK(a.send_bytes_for(bytes("1"), 0s));
  CHECK_FALSE(a.send_bytes_for(bytes("2"), 1ms));
  CHECK(text(b.recv_bytes()) == "1");
  CHECK(a.send_bytes_for(bytes("2"), patience));
}

TEST_CASE("connection: a live connection travels through another one's channel", "[connection][unit]") {
  for (const auto t : {mp::transport::ring, mp::transport::socket}) {
    auto [in, out] = mp::pipe<mp::connection>();
    auto [a, b] = pair(t);
    a.send_bytes("before");
    out.put(std::move(b));
    CHECK(b.is_closed());
    auto arrived = in.get();
    CHECK(text(arrived.recv_bytes()) == "before");
    arrived.send_bytes("after");
    CHECK(text(a.recv_bytes()) == "after");
  }
}

TEST_CASE("connection: async forms complete with the bytes and with the end", "[connection][async][unit]") {
  auto [a, b] = mp::connection::pair();
  const mp::queue<std::string> told(mp::queue_options{.transport = mp::transport::local});
  b.async_recv_bytes([told](mp::error_code ec, std::vector<std::byte> m) { told.put(ec ? ec.message() : text(m)); });
  a.async_send_bytes(bytes("async"), [](mp::error_code) {});
  CHECK(told.get_for(patience) == "async");
  b.async_recv_bytes([told](mp::error_code ec, std::vector<std::byte>) {
    told.put(ec == mp::errc::closed ? "closed" : ec.message());
  });
  a.close();
  CHECK(told.get_for(patience) == "closed");
}

namespace {
void nothing(int) {}
}  // namespace

TEST_CASE("connection: a receive that is interrupted by signals goes on", "[connection][unit]") {
  struct sigaction action {
  }, before{};
  action.sa_handler = nothing;  // no SA_RESTART: system calls come back with EINTR
  REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
  for (const auto t : transports) {
    auto ends = pair(t);
    std::string got;
    std::thread receiver([&] { got = text(ends.second.recv_bytes()); });
    for (int i = 0; i < 100; ++i) {
      ::pthread_kill(receiver.native_handle(), SIGUSR1);
      std::this_thread::yield();
    }
    ends.first.send_bytes("done");
    receiver.join();
    CHECK(got == "done");
  }
  ::sigaction(SIGUSR1, &before, nullptr);
}
