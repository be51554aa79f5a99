// Requests between mailboxes: answers, what handlers throw, deadlines, deaths at every stage, many at a time.

#include "mp/mailbox.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"
#include "supervisor_support.hpp"

#include <boost/asio/use_future.hpp>

#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

struct job {
  int number = 0;
  std::string text{};
};

void serve_requests() {
  for (bool go = true; go;)
    mp::receive([](int n) { return n * n; },
                [](job j) {
                  return job{j.number + 1, j.text + j.text};
                },
                [](double d) {
                  if (d < 0) throw std::domain_error("no root of a negative number");
                  return d / 2;
                },
                [](char how) {
                  if (how == 'k') ::kill(::getpid(), SIGKILL);
                  if (how == 's') ::raise(SIGSEGV);
                  if (how == 'a') std::abort();
                  if (how == 'x') ::_exit(3);
                  if (how == 'e') mp::this_process::exit(0);
                },
                [](short) {
                  // Taken, and then nothing: no answer in time.
                  for (;;) ::pause();
                },
                [](mp::queue<int> q) { q.put(7); },
                [](const std::vector<int>& v) { return mp::queue<int>(std::ssize(v)); },
                [&](const std::string&) { go = false; });
}

/// Everything that requests keep for good is there before we count.
void warm_up_requests() {
  static const bool once = [] {
    const mp::address here = mp::mailbox{}.address();
    auto answer = here.request<int>(long_patience, 1);
    mp::receive([](int n) { return n; });
    return answer.get() == 1;
  }();
  REQUIRE(once);
}

}  // namespace

TEST_CASE("request: a handler's result is the answer", "[request][process]") {
  warm_up_requests();
  const auto method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  const io_ledger ledger;
  {
    mp::process server({.start_method = method}, serve_requests);
    server.start();
    CHECK(server.request<int>(long_patience, 12).get() == 144);
    const job done = server.address().request<job>(long_patience, job{1, "ab"}).get();
    CHECK(done.number == 2);
    CHECK(done.text == "abab");
    mp::queue<int> q;
    server.request<void>(long_patience, q).get();
    CHECK(q.get() == 7);
    CHECK(server.request<mp::queue<int>>(long_patience, std::vector{1, 2, 3}).get().maxsize() == 3);
    server.send("stop");
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: what the handler throws goes to who asked, and the server serves on", "[request][process]") {
  warm_up_requests();
  const io_ledger ledger;
  {
    mp::process server(serve_requests);
    server.start();
    auto bad = server.request<double>(long_patience, -1.0);
    try {
      bad.get();
      CHECK(false);
    } catch (const std::domain_error& e) {
      CHECK(std::string(e.what()) == "no root of a negative number");
      CHECK(dynamic_cast<const mp::remote_error*>(&e) != nullptr);
    }
    CHECK(server.request<double>(long_patience, 3.0).get() == 1.5);
    CHECK_ERRC(server.request<double>(long_patience, 5).get(), type_mismatch);
    CHECK_ERRC(server.request<void>(long_patience, 5).get(), type_mismatch);
    server.send("stop");
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: however the asked process ends, the request ends with peer_died", "[request][process]") {
  warm_up_requests();
  const char how = GENERATE('k', 's', 'a', 'x', 'e');
  CAPTURE(how);
  const io_ledger ledger;
  {
    mp::process server(serve_requests);
    server.start();
    const mp::address to = server.address();
    CHECK(to.request<int>(long_patience, 2).get() == 4);
    auto killed = to.request<void>(mp::duration::forever(), how);
    auto never_taken = to.request<int>(mp::duration::forever(), 3);
    CHECK_ERRC(killed.get(), peer_died);
    // Whoever leaves in order closes its mailbox first: a request that comes after that finds it closed.
    const auto other = errc_of([&] { return never_taken.get(); });
    CHECK((other == mp::errc::peer_died || (how == 'e' && other == mp::errc::closed)));
    server.join();
    const auto late = errc_of([&] { return to.request<int>(1s, 3).get(); });
    CHECK((late == mp::errc::peer_died || late == mp::errc::closed));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: no answer within the limit is deadline_exceeded, and a late one is dropped", "[request][process]") {
  warm_up_requests();
  const io_ledger ledger;
  {
    const mp::address here = mp::mailbox{}.address();
    auto late = here.request<int>(5ms, 8);
    auto in_time = here.request<int>(long_patience, 9);
    CHECK_ERRC(late.get(), deadline_exceeded);
    for (int i = 0; i < 2; ++i) mp::receive([](int n) { return n; });
    CHECK(in_time.get() == 9);

    mp::process server(serve_requests);
    server.start();
    CHECK_ERRC(server.request<int>(20ms, short{1}).get(), deadline_exceeded);
    server.kill();
    server.join();
    CHECK_ERRC(mp::address{}.request<int>(1s, 1).get(), closed);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: a full mailbox refuses at once", "[request][process]") {
  warm_up_requests();
  const io_ledger ledger;
  {
    mp::mailbox here;
    here.set_bound(1);
    here.address().send(1);
    CHECK_ERRC(here.address().request<int>(long_patience, 1).get(), overloaded);
    mp::receive([](int) {});
    here.set_bound(10'000);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: it can be cancelled, dropped, chained and awaited like any future", "[request][process]") {
  warm_up_requests();
  const io_ledger ledger;
  {
    mp::process server(serve_requests);
    server.start();
    auto cancelled = mp::mailbox{}.address().request<int>(mp::duration::forever(), 1);
    CHECK(cancelled.cancel());
    CHECK_FALSE(cancelled.cancel());
    CHECK_ERRC(cancelled.get(), cancelled);
    static_cast<void>(mp::mailbox{}.address().request<int>(mp::duration::forever(), 1));
    for (int i = 0; i < 2; ++i) mp::receive([](int n) { return n; });

    CHECK(server.request<int>(long_patience, 3).then([](int n) { return n + 1; }).get() == 10);
    CHECK(server.request<int>(long_patience, 4).async_get(boost::asio::use_future).get() == 16);
    std::vector<mp::future<int>> all;
    for (int i = 0; i < 1000; ++i) all.push_back(server.request<int>(long_patience, i));
    const auto squares = mp::when_all(std::move(all)).get();
    for (int i = 0; i < 1000; ++i) REQUIRE(squares[static_cast<std::size_t>(i)] == i * i);
    server.send("stop");
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: threads that ask at the same time all get their own answers", "[request][process]") {
  warm_up_requests();
  const io_ledger ledger;
  {
    mp::process server(serve_requests);
    server.start();
    const mp::address to = server.address();
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 200; ++i)
          wrong[static_cast<std::size_t>(t)] +=
              to.request<int>(long_patience, t * 1000 + i).get() != (t * 1000 + i) * (t * 1000 + i);
      });
    for (auto& t : threads) t.join();
    CHECK(wrong == std::vector<int>(4));
    server.send("stop");
    CHECK(server.join().success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("request: a child asks its parent, and a supervised seat answers across restarts", "[request][process]") {
  warm_up_requests();
  const io_ledger ledger;
  {
    mp::queue<int> heard;
    mp::process asker(
        [](mp::queue<int> out) {
          out.put(mp::this_process::parent()->address().request<int>(long_patience, 20).get());
        },
        heard);
    asker.start();
    mp::receive([](int n) { return n + 1; });
    CHECK(heard.get_for(long_patience) == 21);
    CHECK(asker.join().success());

    mp::supervisor top({.restart = {.intensity = 50, .back_off = {.first = 1ms, .most = 2ms}}},
                       {{.name = "s", .start = serve_requests}});
    const mp::address seat = top.address("s");
    for (int i = 0; i < 5; ++i) {
      std::optional<int> square;
      REQUIRE(eventually([&] {
        try {
          square = seat.request<int>(long_patience, i).get();
        } catch (const mp::error& e) {
          if (e.code() != mp::errc::peer_died) throw;
        }
        return square.has_value();
      }));
      CHECK(*square == i * i);
      CHECK_ERRC(seat.request<void>(long_patience, 'k').get(), peer_died);
    }
  }
  CHECK_CLEAN(ledger);
}
