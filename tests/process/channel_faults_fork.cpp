// Handles where they do not belong: in a copy that fork made behind the library's back, and after close. FAULTS 81, 82.
// Must not use Catch2 in a copy: it answers by its exit status.

#include "channel_faults.hpp"
#include "mp/detail/async.hpp"
#include "support/child.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <boost/asio/use_future.hpp>
#include <functional>
#include <future>
#include <map>
#include <string>
#include <utility>

using namespace mp_test;

namespace {

// Both copies return from the function; the first one after the second has ended.
void fork_and_return_twice(mp::sender<int> out, mp::sender<note> notes, mp::unique_fd fact) {
  const pid_t copy = ::fork();
  if (copy == 0) {
    const std::string end = outcome_of([&] { out.put(2); });
    const char said = end == "wrong_process" ? 'w' : '?';
    static_cast<void>(!::write(fact.get(), &said, 1));
    return;
  }
  int status = 0;
  ::waitpid(copy, &status, 0);
  notes.put({0, "the copy ended", status});
  out.put(1);
}

std::optional<mp::errc> code_of(const std::function<void()>& f) {
  return errc_of([&] { return f(), 0; });
}

}  // namespace

TEST_CASE("process: a function that forks and returns twice gives its result once", "[process][queue][faults]") {
  const mp::start_method method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(static_cast<int>(method), name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q({.transport = over});
    mp::queue<note> notes;
    fact_pipe fact;
    mp::process p({.start_method = method}, fork_and_return_twice, q.sender(), notes.sender(),
                  mp::unique_fd(::dup(fact.write_fd())));
    p.start();
    CHECK(p.join().success());
    CHECK(fact.hear() == 'w');
    REQUIRE_NOTE(n, notes);
    CHECK(n.what == "the copy ended");
    CHECK(q.get_for(patience) == 1);
    CHECK_ERRC(q.get_for(patience), closed);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pipe: a copy that fork makes while an async get waits does not hold the reader's end",
          "[pipe][process][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(carriers), std::end(carriers)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    auto [in, out] = mp::pipe<int>({.transport = over});
    mp::queue<int> go;
    mp::queue<std::string> said;
    mp::process writer(
        [](mp::sender<int> to, mp::queue<int> next, mp::queue<std::string> end) {
          next.get();
          to.put(1);
          next.get();
          end.put(outcome_of([&] {
            for (;;) to.put(2);
          }));
        },
        std::move(out), go, said);
    writer.start();
    auto got = in.async_get(mp::asio::use_future);
    // Once the library's thread comes to this it waits for the item.
    std::promise<void> waits;
    mp::detail::post_to(mp::detail::io_thread_ref(), [&] { waits.set_value(); });
    waits.get_future().wait();
    forked_child copy([] {
      for (;;) ::pause();
      return 0;
    });
    go.put(1);
    REQUIRE(got.wait_for(long_patience) == std::future_status::ready);
    CHECK(got.get() == 1);
    in.close();
    go.put(2);
    CHECK(said.get_for(patience) == "closed");
    copy.kill(SIGKILL);
    CHECK(copy.wait());
    if (!writer.join_for(patience)) writer.kill();
    writer.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("handles: every use in a copy that fork made throws wrong_process, and destroying them there harms nobody",
          "[queue][pipe][connection][process][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(all_transports), std::end(all_transports)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q({.maxsize = 2, .transport = over});
    mp::joinable_queue<int> joinable({.transport = over});
    auto [in, out] = mp::pipe<int>({.transport = over});
    auto [left, right] = mp::duplex_pipe<int, int>({.transport = over});
    auto [here, there] = mp::connection::pair({.transport = over});
    mp::process running{stay}, ours{stay};
    running.start();
    mp::receiver<int> from_q = q.receiver();
    mp::sender<int> to_q = q.sender();
    q.put(1);
    joinable.put(1);
    out.put(1);
    const std::map<std::string, std::function<void()>> uses{
        {"queue.put", [&] { q.put(2); }},
        {"queue.try_put", [&] { static_cast<void>(q.try_put(2)); }},
        {"queue.put_for", [&] { static_cast<void>(q.put_for(2, patience)); }},
        {"queue.get", [&] { q.get(); }},
        {"queue.try_get", [&] { q.try_get(); }},
        {"queue.get_for", [&] { q.get_for(patience); }},
        {"queue.get_many", [&] { q.get_many(5); }},
        {"queue.size", [&] { static_cast<void>(q.size()); }},
        {"queue.shutdown", [&] { q.shutdown(); }},
        {"queue.take_lost", [&] { q.take_lost(); }},
        {"queue.sender", [&] { q.sender(); }},
        {"receiver.get", [&] { from_q.get(); }},
        {"sender.put", [&] { to_q.put(2); }},
        {"joinable_queue.get", [&] { joinable.get(); }},
        {"joinable_queue.task_done", [&] { joinable.task_done(); }},
        {"joinable_queue.join", [&] { joinable.join(); }},
        {"pipe receiver.get", [&] { in.get(); }},
        {"pipe sender.put", [&] { out.put(2); }},
        {"duplex_end.put", [&] { left.put(2); }},
        {"duplex_end.get", [&] { right.get(); }},
        {"connection.send_bytes", [&] { here.send_bytes("x"); }},
        {"connection.recv_bytes", [&] { there.recv_bytes(); }},
        {"connection.poll", [&] { static_cast<void>(there.poll()); }},
        {"process.join", [&] { running.join(); }},
        {"process.join_for", [&] { running.join_for(patience); }},
        {"process.exit_status", [&] { running.exit_status(); }},
        {"process.kill", [&] { running.kill(); }},
        {"process.terminate", [&] { running.terminate(); }},
        {"process.request_stop", [&] { running.request_stop(); }},
        {"process.is_alive", [&] { static_cast<void>(running.is_alive()); }},
        {"process.start", [&] { ours.start(); }},
    };
    for (const auto& [name, use] : uses) {
      CAPTURE(name);
      forked_child copy([&use] { return code_of(use) == mp::errc::wrong_process ? 0 : 1; });
      CHECK(copy.wait() == 0);
    }
    // A copy that lets go of everything in order: for us nothing has changed.
    forked_child tidy([&] {
      q.close();
      in.close();
      out.close();
      from_q = {};
      to_q = {};
      joinable.close();
      return 0;
    });
    CHECK(tidy.wait() == 0);

    CHECK(q.get_for(patience) == 1);
    q.put(3);
    CHECK(from_q.get_for(patience) == 3);
    CHECK(joinable.get_for(patience) == 1);
    CHECK(in.get_for(patience) == 1);
    out.put(4);
    CHECK(in.get_for(patience) == 4);
    left.put(5);
    CHECK(right.get_for(patience) == 5);
    here.send_bytes("all is well");
    CHECK(there.recv_bytes_for(patience)->size() == 11);
    CHECK(running.is_alive());
    running.kill();
    CHECK(running.join() == mp::exit_status::signaled(SIGKILL));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("handles: every use after close throws closed, and close again is fine",
          "[queue][pipe][connection][process][faults]") {
  const mp::transport over = GENERATE(from_range(std::begin(all_transports), std::end(all_transports)));
  CAPTURE(name_of(over));
  const fd_ledger ledger = holdings_now();
  {
    mp::queue<int> q({.transport = over});
    mp::joinable_queue<int> joinable({.transport = over});
    auto [in, out] = mp::pipe<int>({.transport = over});
    auto [left, right] = mp::duplex_pipe<int, int>({.transport = over});
    auto [here, there] = mp::connection::pair({.transport = over});
    mp::process ended{stay};
    for (int twice = 0; twice < 2; ++twice) {
      q.close();
      joinable.close();
      in.close();
      out.close();
      left.close();
      here.close();
      ended.close();
    }
    CHECK_ERRC(q.put(1), closed);
    CHECK_ERRC(q.get(), closed);
    CHECK_ERRC(q.try_get(), closed);
    CHECK_ERRC(q.size(), closed);
    CHECK_ERRC(q.shutdown(), closed);
    CHECK_ERRC(q.sender(), closed);
    CHECK_ERRC(q.receiver(), closed);
    CHECK_ERRC(joinable.task_done(), closed);
    CHECK_ERRC(joinable.join(), closed);
    CHECK_ERRC(in.get(), closed);
    CHECK_ERRC(out.put(1), closed);
    CHECK_ERRC(left.put(1), closed);
    CHECK_ERRC(left.get(), closed);
    CHECK_ERRC(right.get(), closed);  // the other side has left
    CHECK_ERRC(here.send_bytes("x"), closed);
    CHECK_ERRC(here.recv_bytes(), closed);
    CHECK(here.is_closed());
    CHECK_ERRC(there.recv_bytes(), closed);
    CHECK_ERRC(ended.start(), closed);
    CHECK_ERRC(ended.join(), closed);
    CHECK_ERRC(mp::receiver<int>().get(), closed);
    CHECK_ERRC(mp::sender<int>().put(1), closed);
  }
  CHECK_CLEAN(ledger);
}
