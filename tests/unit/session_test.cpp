// The maker of a queue over sockets, spoken to by strangers: whoever sends what no client sends is let go, everybody else
// goes on. Pipes and clients whose other side is a stranger: record_ends_test.cpp.

#include "socket_records.hpp"

#include "channel/io_thread.hpp"
#include "mp/pipe.hpp"
#include "mp/queue.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <thread>

using namespace mp_test;
using namespace mp::sock;
using mp::detail::role;

namespace {

using queue_of_int = mp::joinable_queue<int>;

// The connection of a client that has not said anything yet.
mp::unique_fd stranger_of(const queue_of_int& q) {
  auto message = mp::detail::encode_to_buffer(q);
  REQUIRE(message.fds.size() == 1);
  return std::move(message.fds.front());
}
// A client in this process, as another process would have it.
queue_of_int client_of(const queue_of_int& q) {
  auto message = mp::detail::encode_to_buffer(q);
  mp::detail::decoder d(message.bytes, std::move(message.fds));
  return mp::detail::decode<queue_of_int>(d);
}

bool is_let_go(int socket) {
  for (;;) {
    if (!wait_for(socket, POLLIN, std::chrono::steady_clock::now() + patience)) return false;
    received_packet ignored;
    if (receive(socket, ignored) == receipt::end) return true;
  }
}
received_packet answer_on(int socket) {
  received_packet answer;
  REQUIRE(wait_for(socket, POLLIN, std::chrono::steady_clock::now() + patience));
  REQUIRE(receive(socket, answer) == receipt::packet);
  CHECK(answer.head.what == verb::answer);
  return answer;
}
void tell(int socket, const note& n, std::uint64_t number = 0, std::span<const std::byte> body = {},
          std::span<const mp::unique_fd> fds = {}) {
  parcel p = pack(n, body, fds);
  p.number = number;
  REQUIRE(send(socket, p) == 0);
}
bool is_ok(const received_packet& p) { return p.head.status == 0; }

note giving_up(std::uint64_t number) {
  note n = request(verb::cancel);
  n.flag = 1;
  n.value = number;
  return n;
}
note with_value(note n, std::uint64_t value) {
  n.value = value;
  return n;
}

// As if this process were stopped: its I/O thread does nothing meanwhile.
void while_io_thread_is_busy(const std::function<void()>& f) {
  struct gate {
    std::promise<void> is_busy, go;
  };
  const auto both = std::make_shared<gate>();
  mp::asio::post(mp::detail::io_context(), [both] {
    both->is_busy.set_value();
    both->go.get_future().wait();
  });
  both->is_busy.get_future().wait();
  f();
  both->go.set_value();
}

void bring_up_io_thread() {
  mp::queue<int> q;
  q.put(1);
  REQUIRE(q.async_get(mp::asio::use_future).get() == 1);
}

void speak(int socket, const bytes& record, std::span<const int> fds = {}) { REQUIRE(write_raw(socket, record, fds)); }

struct hostile {
  const char* what;
  std::function<void(int socket)> speak;
};

const std::vector<hostile>& all_hostile() {
  static const std::vector<hostile> all{
      {"garbage", [](int s) { speak(s, body_of(300)); }},
      {"one byte", [](int s) { speak(s, body_of(1)); }},
      {"a header alone",
       [](int s) {
         auto r = bytes_of(pack(request(verb::get)));
         r.resize(32);
         speak(s, r);
       }},
      {"an attach with no socket",
       [](int s) {
         std::vector<mp::unique_fd> one;
         one.emplace_back(::eventfd(0, EFD_CLOEXEC));
         tell(s, request(verb::attach), 0, {}, one);
       }},
      {"a record that is cut",
       [](int s) {
         auto r = bytes_of(pack(request(verb::put), body_of(50)));
         r.pop_back();
         speak(s, r);
       }},
      {"a record that is too long", [](int s) { speak(s, bytes(at_body + inline_bytes + 1)); }},
      {"a length of 2^63",
       [](int s) { speak(s, with(bytes_of(pack(request(verb::put))), at_length, std::uint64_t{1} << 63)); }},
      {"an unknown verb", [](int s) { speak(s, with(bytes_of(pack(request(verb::get))), at_note, std::uint8_t{99})); }},
      {"an item of a pipe", [](int s) { tell(s, request(verb::item)); }},
      {"an answer", [](int s) { tell(s, request(verb::answer)); }},
      {"a role that it never held", [](int s) { tell(s, request(verb::drop_role, role::sender)); }},
      {"two requests at once",
       [](int s) { tell(s, request(verb::get, role::whole, true)), tell(s, request(verb::size)); }},
      {"an attach without a connection", [](int s) { tell(s, request(verb::attach)); }},
      {"an attach with two",
       [](int s) {
         std::vector<mp::unique_fd> two;
         two.push_back(make_ends().ours), two.push_back(make_ends().ours);
         tell(s, request(verb::attach), 0, {}, two);
       }},
      {"a watch of a third side", [](int s) { tell(s, with_value(request(verb::watch), 2)); }},
      {"a hundred descriptors with nothing",
       [](int s) {
         const mp::unique_fd event(::eventfd(0, EFD_CLOEXEC));
         const std::vector<int> hundred(100, event.get());
         speak(s, bytes_of(pack(request(verb::size))), hundred);
       }},
      {"a body outside that is not there",
       [](int s) {
         auto r = with(bytes_of(pack(request(verb::put))), at_outside, std::byte{1});
         speak(s, r);
       }},
  };
  return all;
}

}  // namespace

TEST_CASE("socket queue: a client that sends what no client sends is let go, the others go on", "[session][unit]") {
  bring_up_io_thread();
  const fd_ledger ledger;
  for (const hostile& h : all_hostile()) {
    CAPTURE(h.what);
    const queue_of_int q({.transport = mp::transport::socket});
    const queue_of_int other = client_of(q);
    const mp::unique_fd stranger = stranger_of(q);
    h.speak(stranger.get());
    CHECK(is_let_go(stranger.get()));

    q.put(1);
    CHECK(other.get_for(patience) == 1);
    other.task_done();
    other.put(2);
    CHECK(q.get_for(patience) == 2);
    q.task_done();
    CHECK(q.join_for(patience));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("socket queue: strange requests that can be answered take nothing and hold nobody up", "[session][unit]") {
  bring_up_io_thread();
  const fd_ledger ledger;
  {
    const queue_of_int q({.transport = mp::transport::socket});
    const queue_of_int other = client_of(q);
    const mp::unique_fd stranger = stranger_of(q);
    const int s = stranger.get();
    tell(s, request(verb::cancel));
    tell(s, giving_up(0));
    tell(s, giving_up(77));
    tell(s, request(verb::done), 1);
    CHECK(answer_on(s).head.flag == 0);
    tell(s, request(verb::take_lost), 2);
    CHECK_FALSE(is_ok(answer_on(s)));
    tell(s, with_value(request(verb::hello), 12345));
    tell(s, with_value(request(verb::hello), 54321));
    tell(s, request(verb::put), 3, body_of(3));  // no int
    CHECK(is_ok(answer_on(s)));
    CHECK_ERRC(other.get_for(patience), undecodable);
    other.put(5);
    CHECK(q.get_for(patience) == 5);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("socket queue: an item whose answer came too late for its client is there for the next one",
          "[session][unit]") {
  bring_up_io_thread();
  const fd_ledger ledger;
  {
    const queue_of_int q({.transport = mp::transport::socket});
    const mp::unique_fd client = stranger_of(q);
    const int s = client.get();
    q.put(1);
    q.put(2);
    tell(s, request(verb::get, role::whole, true), 1);
    const auto late = answer_on(s);
    CHECK(is_ok(late));
    CHECK(late.number == 1);
    CHECK(q.size() == 1);
    tell(s, giving_up(1));
    tell(s, request(verb::size), 2);
    const auto size = answer_on(s);
    CHECK(size.number == 2);
    CHECK(size.head.value == 2);
    CHECK(q.get_for(patience) == 1);  // in its old place
    CHECK(q.get_for(patience) == 2);
    CHECK_FALSE(q.join_for({}));
    q.task_done();
    q.task_done();
    CHECK(q.join_for(patience));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("socket queue: what a client called off before its maker came to it is not done", "[session][unit]") {
  bring_up_io_thread();
  const fd_ledger ledger;
  {
    const queue_of_int q({.transport = mp::transport::socket});
    const mp::unique_fd putting = stranger_of(q), getting = stranger_of(q), waiting = stranger_of(q);
    const int value = 7;
    const auto body = std::as_bytes(std::span(&value, 1));
    tell(waiting.get(), request(verb::get, role::whole, true), 1);
    tell(waiting.get(), request(verb::cancel));
    CHECK(answer_on(waiting.get()).number == 1);
    tell(waiting.get(), request(verb::get, role::whole, true), 2);
    tell(getting.get(), request(verb::size), 1);
    answer_on(getting.get());  // the get waits there by now
    while_io_thread_is_busy([&] {
      tell(waiting.get(), request(verb::cancel));
      tell(waiting.get(), giving_up(2));
      tell(putting.get(), request(verb::put, role::whole, true), 1, body);
      tell(putting.get(), request(verb::cancel));
      tell(putting.get(), giving_up(1));
      q.put(8);
      tell(getting.get(), request(verb::get, role::whole, true), 2);
      tell(getting.get(), giving_up(2));
      tell(getting.get(), request(verb::size), 3);
    });
    const auto size = answer_on(getting.get());
    CHECK(size.number == 3);
    CHECK(size.head.value == 1);
    CHECK(q.get_for(patience) == 8);
    CHECK_FALSE(q.try_get().has_value());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("socket queue: a client that sends without end does not keep the I/O thread for itself", "[session][unit]") {
  bring_up_io_thread();
  const fd_ledger ledger;
  {
    const queue_of_int q({.transport = mp::transport::socket});
    const mp::unique_fd flooding = stranger_of(q);
    const int value = 7;
    while_io_thread_is_busy([&] {
      for (int i = 0; i < 100; ++i)
        tell(flooding.get(), request(verb::put), static_cast<std::uint64_t>(i), std::as_bytes(std::span(&value, 1)));
    });
    for (int i = 0; i < 100; ++i) CHECK(answer_on(flooding.get()).number == static_cast<std::uint64_t>(i));
    CHECK(q.size() == 100);

    std::atomic<bool> enough = false;
    std::jthread flood([&] {
      const parcel size = pack(request(verb::size));
      received_packet ignored;
      while (!enough) {
        if (send(flooding.get(), size) == EPIPE) break;
        while (receive(flooding.get(), ignored) == receipt::packet) {
        }
      }
    });
    const queue_of_int other = client_of(q);
    for (int i = 0; i < 100; ++i) CHECK(other.get_for(patience) == 7);
    enough = true;
  }
  CHECK_CLEAN(ledger);
}
