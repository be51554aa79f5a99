// Messages and answers that meet somebody else's put, or no room: none may be lost, none may make others wait.

#include "mp/detail/async.hpp"
#include "mp/mailbox.hpp"
#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "process/mailbox_state.hpp"
#include "process/requests.hpp"
#include "support/catch.hpp"
#include "support/fd_ledger.hpp"
#include "support/held_lock.hpp"
#include "support/patience.hpp"

#include <future>
#include <optional>
#include <string>
#include <vector>

using namespace mp_test;

namespace {

void serve(mp::queue<int> said) {
  for (bool go = true; go;)
    mp::receive([](int n) { return n * n; }, [](char) { return mp::queue<int>(3); },
                [&](bool last) {
                  said.put(1);
                  go = !last;
                });
}

void answer_and_leave() {
  mp::receive([](int n) { return n * n; });
  mp::receive([](int n) { return n * n; });
}

/// Everything that requests keep for good is there before we count.
void warm_up_requests() {
  auto answer = mp::mailbox{}.address().request<int>(long_patience, 1);
  mp::receive([](int n) { return n; });
  REQUIRE(answer.get() == 1);
}

const std::shared_ptr<mp::detail::channel>& channel_of(const mp::address& a) {
  return mp::detail::address_access::state(a)->to().shared();
}

/// Holds our I/O thread up until it is let go.
class busy_io_thread {
public:
  busy_io_thread() {
    std::promise<void> here;
    auto arrived = here.get_future();
    mp::detail::post_to(mp::detail::io_thread_ref(), [&here, until = go_.get_future().share()] {
      here.set_value();
      until.wait();
    });
    arrived.wait();
  }
  ~busy_io_thread() { go_.set_value(); }

private:
  std::promise<void> go_;
};

}  // namespace

TEST_CASE("request: an answer that meets a put that does not end comes when it has ended", "[request][process]") {
  warm_up_requests();
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<int> said;
    mp::process server(serve, said);
    server.start();
    CHECK(server.request<int>(long_patience, 2).get() == 4);  // it knows where answers go
    held_put_lock lock(mp::detail::own_answers().shared());
    auto first = server.request<int>(long_patience, 3), second = server.request<int>(long_patience, 4);
    server.send(false);
    REQUIRE(said.get_for(patience));  // both were answered, and nobody waited for us
    CHECK(lock.is_wanted());
    lock.release();
    CHECK(first.get() == 9);
    CHECK(second.get() == 16);
    server.send(true);
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: who answers and leaves at once does not take its answer along", "[request][process]") {
  warm_up_requests();
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::process server(answer_and_leave);
    server.start();
    CHECK(server.request<int>(long_patience, 2).get() == 4);
    held_put_lock lock(mp::detail::own_answers().shared());
    auto answer = server.request<int>(long_patience, 3);
    REQUIRE(eventually([&] { return lock.is_wanted(); }));
    lock.release();
    CHECK(answer.get() == 9);
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: answers for which there is no room come when there is", "[request][process]") {
  warm_up_requests();
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<int> said;
    mp::process server(serve, said);
    server.start();
    std::vector<mp::future<mp::queue<int>>> answers;
    {
      const busy_io_thread held;  // it takes no answers; a queue of them holds 64 with descriptors
      for (int i = 0; i < 100; ++i) answers.push_back(server.request<mp::queue<int>>(long_patience, 'q'));
      server.send(false);
      REQUIRE(said.get_for(patience));
    }
    for (auto& a : answers) CHECK(a.get().maxsize() == 3);
    server.send(true);
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: never waits for a put of somebody else, on the I/O thread neither, and follows it",
          "[request][process]") {
  warm_up_requests();
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<int> said;
    mp::process server(serve, said);
    server.start();
    const mp::address to = server.address();
    held_put_lock lock(channel_of(to));
    // The first ones of all: who asks and where answers go travels with them.
    auto here = to.request<int>(long_patience, 3);
    std::promise<mp::future<int>> asked;
    mp::detail::post_to(mp::detail::io_thread_ref(),
                        [&] { asked.set_value(to.request<int>(mp::duration::forever(), 4)); });
    auto there = asked.get_future().get();
    auto given_up = to.request<int>(std::chrono::milliseconds(1), 5);
    CHECK_ERRC(given_up.get(), deadline_exceeded);
    CHECK_FALSE(here.ready());
    CHECK_FALSE(there.ready());
    CHECK_FALSE(to.try_send(6));  // it must not overtake what waits
    lock.release();
    CHECK(here.get() == 9);
    CHECK(there.get() == 16);
    CHECK(to.request<int>(long_patience, 7).get() == 49);
    to.send(true);
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: what waits behind a put goes first, also before a send of the same thread", "[request][process]") {
  warm_up_requests();
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<int> order;
    mp::process server(
        [](mp::queue<int> out) {
          for (int i = 0; i < 3; ++i) mp::receive([&](int n) { out.put(n); });
        },
        order);
    server.start();
    const mp::address to = server.address();
    held_put_lock lock(channel_of(to));
    auto first = to.request<void>(long_patience, 1), second = to.request<void>(long_patience, 2);
    std::promise<void> sends;
    std::jthread releases([&, begun = sends.get_future()]() mutable {
      begun.wait();
      lock.release();
    });
    sends.set_value();
    to.send(3);
    for (int n = 1; n <= 3; ++n) CHECK(order.get_for(patience) == n);
    CHECK_NOTHROW(first.get());
    CHECK_NOTHROW(second.get());
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: one that waits behind a put ends with its process", "[request][process]") {
  warm_up_requests();
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<int> said;
    mp::process server(serve, said);
    server.start();
    const mp::address to = server.address();
    held_put_lock lock(channel_of(to));
    auto open = to.request<int>(mp::duration::forever(), 3);
    server.kill();
    CHECK_ERRC(open.get(), peer_died);
    server.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("mailbox: what the parent sends is not lost where another one's put is in the way", "[mailbox][process]") {
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<mp::address> known;
    mp::queue<int> got;
    mp::process child(
        [](mp::queue<mp::address> tell, mp::queue<int> out) {
          tell.put(mp::mailbox{}.address());  // so others have it: the parent's messages are put into this one
          for (int i = 0; i < 3; ++i) mp::receive([&](int n) { out.put(n); });
        },
        known, got);
    child.start();
    const auto own = known.get_for(patience);
    REQUIRE(own);
    held_put_lock lock(channel_of(*own));
    child.send(1);
    child.send(2);
    child.send(3);
    REQUIRE(eventually([&] { return lock.is_wanted(); }));
    // What was taken from the parent's is in the child's hand: it takes no more meanwhile.
    CHECK(channel_of(child.address())->size() == 2);
    lock.release();
    for (int n = 1; n <= 3; ++n) CHECK(got.get_for(patience) == n);
    CHECK(child.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("mailbox: what the parent sends is not lost where the child's own mailbox is full", "[mailbox][process]") {
  const fd_ledger ledger(true);  // what was warmed up is tidied away by the library's own thread
  {
    mp::queue<mp::address> known;
    mp::queue<int> got;
    mp::process child(
        [](mp::queue<mp::address> tell, mp::queue<int> out) {
          mp::mailbox here;
          here.set_bound(1);
          here.address().send(0);
          tell.put(here.address());
          for (int i = 0; i < 21; ++i) mp::receive([&](int n) { out.put(n); });
        },
        known, got);
    child.start();
    REQUIRE(known.get_for(patience));
    for (int n = 1; n <= 20; ++n) child.send(n);
    for (int n = 0; n <= 20; ++n) CHECK(got.get_for(patience) == n);
    CHECK(child.join().success());
  }
  CHECK_CLEAN(ledger);
}
