// Signals that interrupt every wait, and deadlines that are past, nothing, or longer than any clock. FAULTS 90, 91.

#include "channel_faults.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <array>
#include <atomic>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

std::atomic<int> interrupts = 0;

// A thousand signals a second, with a handler, and without SA_RESTART; only the calling thread takes them.
class storm {
public:
  storm() {
    struct sigaction action {};
    action.sa_handler = [](int) { ++interrupts; };
    ::sigaction(SIGALRM, &action, nullptr);
    const itimerval often{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  }
  storm(const storm&) = delete;
  storm& operator=(const storm&) = delete;
  ~storm() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
  }
};

/// Runs `wait` in this thread under the storm; `end_it` runs in another once ten signals have hit the wait.
void under_storm(const char* name, const std::function<void()>& wait, const std::function<void()>& end_it) {
  const int before = interrupts;
  std::thread helper([&] {
    sigset_t alarm;
    ::sigemptyset(&alarm);
    ::sigaddset(&alarm, SIGALRM);
    ::pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
    while (interrupts < before + 10) std::this_thread::yield();
    end_it();
  });
  std::string end;
  try {
    wait();
  } catch (const std::exception& e) {
    end = std::string(name) + ": " + e.what();
  }
  helper.join();
  if (!end.empty()) throw std::runtime_error(end);
}

void check(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

void get_then_leave(mp::receiver<int> gate) {
  outcome_of([&] { gate.get(); });
}

// In a child of its own, so that the storm hits nobody else: fails by an exception, which its parent shows.
void wait_in_every_way(int over_number) {
  const auto over = static_cast<mp::transport>(over_number);
  const storm signals;
  mp::queue<int> q({.transport = over}), full({.maxsize = 1, .transport = over});
  mp::joinable_queue<int> tasks({.transport = over});
  auto [in, out] = mp::pipe<std::vector<int>>({.max_bytes = 4096, .transport = over});
  auto [here, there] = mp::connection::pair({.transport = over});
  const std::vector<int> large(1'000'000, 1);

  under_storm(
      "queue.get", [&] { check(q.get() == 1, "queue.get"); }, [&] { q.put(1); });
  under_storm(
      "queue.get_for", [&] { check(q.get_for(patience) == 2, "queue.get_for"); }, [&] { q.put(2); });
  under_storm(
      "queue.get_many", [&] { check(q.get_many(3).size() == 1, "queue.get_many"); }, [&] { q.put(3); });
  full.put(1);
  under_storm(
      "queue.put", [&] { full.put(2); }, [&] { full.get(); });
  under_storm(
      "queue.put_for", [&] { check(full.put_for(3, patience), "queue.put_for"); }, [&] { full.get(); });
  tasks.put(1);
  under_storm(
      "joinable_queue.join", [&] { tasks.join(); }, [&] { tasks.get(), tasks.task_done(); });
  under_storm(
      "receiver.get", [&] { check(in.get().size() == 3, "receiver.get"); },
      [&] {
        out.put({1, 2, 3});
      });
  under_storm(
      "receiver.get of a large one", [&] { check(in.get() == large, "receiver.get"); }, [&] { out.put(large); });
  out.put(large);
  under_storm(
      "sender.put", [&] { out.put(large); },
      [&] {
        in.get();
        in.get();
      });
  under_storm(
      "connection.recv_bytes", [&] { check(here.recv_bytes().size() == 5, "recv_bytes"); },
      [&] { there.send_bytes("hello"); });
  under_storm(
      "connection.poll_for", [&] { check(here.poll_for(patience), "poll_for"); }, [&] { there.send_bytes("hello"); });
  under_storm(
      "wait", [&] { check(mp::wait(q, in) == std::vector<std::size_t>{0}, "wait"); }, [&] { q.put(4); });
  mp::queue<int> silent({.transport = over});
  under_storm(
      "wait_for that ends", [&] { check(mp::wait_for(50ms, silent).empty(), "wait_for"); }, [] {});
  under_storm(
      "get_for that ends", [&] { check(!silent.get_for(50ms), "get_for"); }, [] {});
  mp::queue<int> gate;
  mp::process p = mp::process{get_then_leave, gate.receiver()}.start();
  under_storm(
      "process.join", [&] { check(p.join().success(), "join"); }, [&] { gate.put(1); });
  for (int i = 0; i < 20; ++i) {
    mp::process again = mp::process{get_then_leave, gate.receiver()}.start();
    gate.put(1);
    check(again.join_for(patience) == mp::exit_status::exited(0), "start under the storm");
  }
}

const std::map<std::string, mp::duration> past_or_nothing{
    {"0", 0ns},
    {"-1 ns", -1ns},
    {"-1 h", -1h},
    {"hours::min", std::chrono::hours::min()},
    {"nanoseconds::min", std::chrono::nanoseconds::min()},
    {"-infinite", std::chrono::duration<double>(-std::numeric_limits<double>::infinity())},
    {"not a number", std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())},
    {"default", mp::duration()},
};
const std::map<std::string, mp::duration> longer_than_any{
    {"hours::max", std::chrono::hours::max()},
    {"seconds::max", std::chrono::seconds::max()},
    {"nanoseconds::max", std::chrono::nanoseconds::max()},
    {"2^63 - 1 ns", std::chrono::nanoseconds(std::numeric_limits<std::int64_t>::max())},
    {"1e300 s", std::chrono::duration<double>(1e300)},
    {"infinite", std::chrono::duration<double>(std::numeric_limits<double>::infinity())},
    {"forever", mp::duration::forever()},
};

}  // namespace

TEST_CASE("waits: a thousand handled signals a second are not seen by any call that waits",
          "[queue][pipe][process][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(all_transports), std::end(all_transports)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::process p = mp::process{{.err = mp::stdio::null()}, wait_in_every_way, static_cast<int>(over)}.start();
    const auto status = p.join_for(2 * long_patience);
    if (!status) p.kill();
    REQUIRE(status.has_value());
    CHECK(*status == mp::exit_status::exited(0));
    const auto failure = p.failure();
    CHECK((failure ? failure->what : "") == "");
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("waits: a limit of nothing or less, or a moment that is past, tries once", "[queue][pipe][process][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(all_transports), std::end(all_transports)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q({.maxsize = 1, .transport = over});
    auto [in, out] = mp::pipe<int>({.maxsize = 1, .transport = over});
    auto [here, there] = mp::connection::pair({.transport = over});
    mp::process p{stay};
    p.start();
    const auto moments = {std::chrono::steady_clock::now() - 1h, mp::time_point::min(), mp::time_point()};
    for (const auto& [name, limit] : past_or_nothing) {
      CAPTURE(name);
      CHECK_FALSE(q.get_for(limit).has_value());
      CHECK(q.put_for(1, limit));
      CHECK_FALSE(q.put_for(2, limit));
      CHECK(q.get_for(limit) == 1);
      CHECK_FALSE(in.get_for(limit).has_value());
      CHECK(out.put_for(1, limit));
      CHECK_FALSE(out.put_for(2, limit));
      CHECK(in.get_for(limit) == 1);
      CHECK_FALSE(here.poll_for(limit));
      CHECK_FALSE(here.recv_bytes_for(limit).has_value());
      CHECK_FALSE(p.join_for(limit).has_value());
      CHECK(mp::wait_for(limit, q, in, p).empty());
    }
    for (const mp::time_point moment : moments) {
      CHECK_FALSE(q.get_until(moment).has_value());
      CHECK(q.put_until(1, moment));
      CHECK_FALSE(q.put_until(2, moment));
      CHECK(q.get_until(moment) == 1);
      CHECK_FALSE(p.join_until(moment).has_value());
      CHECK(mp::wait_until(moment, q, in, p).empty());
    }
    p.kill();
    p.join();
    CHECK(p.join_for(-1h) == mp::exit_status::signaled(SIGKILL));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("waits: a limit that is longer than any clock waits until the fact comes", "[queue][pipe][process][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(all_transports), std::end(all_transports)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q({.maxsize = 1, .transport = over});
    auto [here, there] = mp::connection::pair({.transport = over});
    for (const auto& [name, limit] : longer_than_any) {
      CAPTURE(name);
      // The helper acts once this thread sleeps in the call.
      const auto me = static_cast<pid_t>(::gettid());
      const auto once_we_sleep = [me](auto act) {
        return std::thread([me, act] {
          falls_asleep(me);
          act();
        });
      };
      std::thread putting = once_we_sleep([&] { q.put(1); });
      CHECK(q.get_for(limit) == 1);
      putting.join();
      q.put(1);
      std::thread getting = once_we_sleep([&] { q.get(); });
      CHECK(q.put_for(2, limit));
      getting.join();
      CHECK(q.get() == 2);
      std::thread sending = once_we_sleep([&] { there.send_bytes("x"); });
      CHECK(here.recv_bytes_for(limit).has_value());
      sending.join();
      mp::process p{stay};
      p.start();
      std::thread killing = once_we_sleep([&] { p.kill(); });
      CHECK(mp::wait_for(limit, q, p) == std::vector<std::size_t>{1});
      CHECK(p.join_for(limit) == mp::exit_status::signaled(SIGKILL));
      killing.join();
    }
    std::thread putting([&] { q.put(1); });
    CHECK(q.get_until(mp::time_point::max()) == 1);
    putting.join();
  }
  CHECK_CLEAN(ledger);
}
