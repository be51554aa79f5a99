// Mailboxes between processes: who reaches whom, in which order, what waits, what is left alone.

#include "mp/mailbox.hpp"
#include "mp/init.hpp"
#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "mp/this_process.hpp"
#include "support/catch.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <boost/asio/use_future.hpp>

#include <csignal>
#include <future>
#include <optional>
#include <string>
#include <vector>

namespace {

using mp_test::patience;

struct point {
  int x = 0, y = 0;
};

void answer_squares() {
  for (bool go = true; go;)
    mp::receive([](int n) { mp::mailbox{}.sender().send(n, n * n); }, [&](const std::string&) { go = false; });
}

void tell_parent_three_things() {
  const auto parent = *mp::this_process::parent();
  parent.send(1);
  parent.send("two", point{3, 4});
  parent.send(std::vector<double>{5.5});
}

void send_numbers(mp::address to, int first, int count) {
  for (int i = 0; i < count; ++i) to.send(first, i);
}

void wait_for_stop(mp::address tell) {
  tell.send("ready");
  mp::receive([](const std::string&) {});
}

/// Receives one message of these types, or fails the test.
template <class... T>
std::tuple<T...> expect() {
  std::optional<std::tuple<T...>> got;
  const bool came = mp::mailbox{}.receive_for(patience, [&](T... values) { got.emplace(std::move(values)...); });
  REQUIRE(came);
  return std::move(*got);
}

}  // namespace

TEST_CASE("mailbox: a child's messages reach its parent with their types, and a literal as a string",
          "[mailbox][process]") {
  mp::mailbox{}.address().send(0);  // our own mailbox stays: it is brought up before we count
  expect<int>();
  mp_test::fd_ledger ledger;
  {
    mp::process child{tell_parent_three_things};
    child.start();

    CHECK(std::get<0>(expect<int>()) == 1);
    const auto [text, at] = expect<std::string, point>();
    CHECK(text == "two");
    CHECK(at.y == 4);
    CHECK(std::get<0>(expect<std::vector<double>>()) == std::vector{5.5});
    CHECK(child.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("mailbox: a parent reaches its child, and the child answers to the sender", "[mailbox][process]") {
  mp::process child{answer_squares};
  child.start();

  for (int n : {2, 3, 4}) {
    child.send(n);
    const auto [asked, square] = expect<int, int>();
    CHECK(asked == n);
    CHECK(square == n * n);
  }
  child.send("stop");
  CHECK(child.join().success());
}

TEST_CASE("mailbox: an address travels as an argument, and its copies name the same process", "[mailbox][process]") {
  mp::process first{answer_squares};
  first.start();
  const mp::address to = first.address();
  CHECK(to == first.address());
  CHECK(to.pid() == first.pid());
  CHECK(to.is_alive());
  CHECK(to != mp::mailbox{}.address());
  mp::process second{[](mp::address whom) { whom.send("stop"); }, to};
  second.start();

  CHECK(first.join().success());
  CHECK(second.join().success());
  CHECK_FALSE(to.is_alive());
}

TEST_CASE("mailbox: messages of one sender keep their order, also between two senders", "[mailbox][process]") {
  constexpr int count = 2000;
  const mp::address here = mp::mailbox{}.address();
  mp::process a{send_numbers, here, 0, count}, b{send_numbers, here, 1, count};
  a.start();
  b.start();

  int next[2] = {0, 0};
  for (int i = 0; i < 2 * count; ++i) {
    const auto [who, number] = expect<int, int>();
    REQUIRE(number == next[who]++);
  }
  CHECK(a.join().success());
  CHECK(b.join().success());
}

TEST_CASE("mailbox: a receive takes the oldest message that fits and leaves the others", "[mailbox][unit]") {
  const mp::address here = mp::mailbox{}.address();
  here.send(1);
  here.send("text");
  here.send(2);

  CHECK(std::get<0>(expect<std::string>()) == "text");
  CHECK(std::get<0>(expect<int>()) == 1);
  CHECK(std::get<0>(expect<int>()) == 2);
  CHECK_FALSE(mp::mailbox{}.try_receive([](mp::any_message) {}));
}

TEST_CASE("mailbox: any_message fits everything and tells its types and its sender", "[mailbox][unit]") {
  mp::mailbox{}.address().send(7, std::string("x"));

  mp::any_message got;
  REQUIRE(mp::mailbox{}.try_receive([&](mp::any_message m) { got = m; }));
  CHECK(got.size() == 2);
  CHECK(got.type_names().find("int") != std::string::npos);
  CHECK(got.sender() == mp::mailbox{}.address());
}

TEST_CASE("mailbox: the after clause runs when nothing fits in time, and only then", "[mailbox][unit]") {
  using namespace std::chrono_literals;
  int late = 0, got = 0;
  mp::receive([&](int) { ++got; }, mp::after(0s) >> [&] { ++late; });
  mp::mailbox{}.address().send(1);
  mp::receive([&](int) { ++got; }, mp::after(patience) >> [&] { ++late; });

  CHECK(late == 1);
  CHECK(got == 1);
}

TEST_CASE("mailbox: a full one refuses try_send, and takes again when something was received", "[mailbox][unit]") {
  mp::mailbox box;
  box.set_bound(3);
  const mp::address here = box.address();
  for (int i = 0; i < 3; ++i) REQUIRE(here.try_send(i));

  CHECK_FALSE(here.try_send(3));
  CHECK_FALSE(here.send_for(std::chrono::milliseconds(1), 3));
  CHECK(std::get<0>(expect<int>()) == 0);
  CHECK(here.try_send(3));
  for (int i = 1; i <= 3; ++i) CHECK(std::get<0>(expect<int>()) == i);
  CHECK_THROWS_AS(box.set_bound(0), mp::error);
  box.set_bound(10'000);
}

TEST_CASE("mailbox: what a handler throws leaves receive, and the message is gone", "[mailbox][unit]") {
  mp::mailbox{}.address().send(1);

  CHECK_THROWS_AS(mp::receive([](int) { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK_FALSE(mp::mailbox{}.try_receive([](int) {}));
}

TEST_CASE("mailbox: a send to a process that left says closed, to one that died peer_died", "[mailbox][process]") {
  const auto code_of_send = [](const mp::address& to) {
    try {
      to.send("late");
    } catch (const mp::error& e) {
      return static_cast<mp::errc>(e.code().value());
    }
    return mp::errc{};
  };
  mp::process leaves{wait_for_stop, mp::mailbox{}.address()}, dies{wait_for_stop, mp::mailbox{}.address()};
  leaves.start();
  dies.start();
  expect<std::string>();
  expect<std::string>();
  const mp::address left = leaves.address(), dead = dies.address();
  left.send("stop");
  CHECK(leaves.join().success());
  dies.kill();
  CHECK(dies.join().signal() == SIGKILL);

  CHECK(code_of_send(left) == mp::errc::closed);
  CHECK(code_of_send(dead) == mp::errc::peer_died);
  CHECK(code_of_send(mp::address{}) == mp::errc::closed);
}

TEST_CASE("mailbox: a queue travels in a message", "[mailbox][process]") {
  mp::queue<int> numbers;
  mp::process child{[] { mp::receive([](mp::queue<int> q) { q.put(99); }); }};
  child.start();
  child.send(numbers);

  const auto got = numbers.get_for(patience);
  REQUIRE(got);
  CHECK(*got == 99);
  CHECK(child.join().success());
}

TEST_CASE("mailbox: async_receive completes with the next message", "[mailbox][unit]") {
  auto next = mp::mailbox{}.async_receive(boost::asio::use_future);
  mp::mailbox{}.address().send(5);

  REQUIRE(next.wait_for(patience) == std::future_status::ready);
  CHECK(next.get().size() == 1);
}

TEST_CASE("mailbox: a child that takes a stop token does not miss what comes before its first receive",
          "[mailbox][process]") {
  for (int i = 0; i < 20; ++i) {
    mp::process child{[](std::stop_token, mp::address to) { mp::receive([&](int n) { to.send(n + 1); }); },
                      mp::mailbox{}.address()};
    child.start();
    child.send(i);
    CHECK(std::get<0>(expect<int>()) == i + 1);
    CHECK(child.join().success());
  }
}
