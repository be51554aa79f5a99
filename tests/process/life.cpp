// The life of a process object: made, started, joined, let go, closed; and what each state refuses.

#include "process_support.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_future.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <atomic>
#include <chrono>
#include <future>
#include <iostream>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

void say_who_i_am() {
  const auto parent = mp::this_process::parent();
  std::cout << mp::this_process::pid() << ' ' << mp::this_process::name() << ' ' << parent->pid() << ' '
            << parent->name() << ' ' << parent->is_alive();
}

void start_one_below() {
  mp::process p(say_who_i_am);
  p.start();
  std::cout << p.name() << ' ' << p.join() << '\n';
}

void write_after_stop(std::stop_token stop) {
  while (!stop.stop_requested()) std::this_thread::yield();
  std::cout << "stopped";
}

int ignored_result() { return 9; }

}  // namespace

TEST_CASE("process: a child runs its function in a process of its own, and knows its parent", "[process]") {
  const auto method = any_method();
  CAPTURE(static_cast<int>(method));
  const fd_ledger ledger;
  {
    mp::process p({.name = "talker", .start_method = method, .out = mp::stdio::pipe()}, say_who_i_am);
    CHECK_FALSE(p.is_alive());
    p.start();
    const std::string expected =
        std::to_string(p.pid()) + " talker " + std::to_string(::getpid()) + " " + mp::this_process::name() + " 1";
    CHECK(read_all(p.take_out()) == expected);
    CHECK(p.join() == mp::exit_status::exited(0));
    CHECK(p.join() == mp::exit_status::exited(0));
    CHECK_FALSE(p.is_alive());
    CHECK(p.pid() != ::getpid());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: what a function returns does not change the exit code", "[process]") {
  mp::process p(ignored_result);
  p.start();
  CHECK(p.join().success());
}

TEST_CASE("process: each state refuses what does not fit it, and nothing changes", "[process]") {
  const fd_ledger ledger;
  {
    mp::process p(wait_for_ever);
    CHECK_ERRC(p.join(), not_started);
    CHECK_ERRC(p.exit_status(), not_started);
    CHECK_ERRC(p.pid(), not_started);
    CHECK_ERRC(p.sentinel(), not_started);
    CHECK_ERRC(p.terminate(), not_started);
    CHECK_ERRC(p.request_stop(), not_started);
    p.start();
    CHECK_ERRC(p.start(), already_started);
    CHECK_ERRC(p.close(), still_running);
    CHECK(p.is_alive());
    p.kill();
    CHECK(p.join() == mp::exit_status::signaled(SIGKILL));
    CHECK_ERRC(p.start(), already_started);
    p.close();
    p.close();
    CHECK_ERRC(p.join(), closed);
    CHECK_ERRC(p.name(), closed);
    CHECK_ERRC(mp::process().start(), closed);
    CHECK_ERRC(mp::process(mp::task()), invalid_argument);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: join_for gives nothing while the child runs, however little it waits", "[process]") {
  mp::process p(wait_for_ever);
  p.start();
  CHECK(p.join_for(0s) == std::nullopt);
  CHECK(p.join_for(-1s) == std::nullopt);
  CHECK(p.join_until(mp::time_point::min()) == std::nullopt);
  CHECK(p.join_for(1ms) == std::nullopt);
  CHECK(p.exit_status() == std::nullopt);
  CHECK(p.failure() == std::nullopt);
  p.kill();
  CHECK(p.join_for(mp::duration::forever()) == mp::exit_status::signaled(SIGKILL));
  CHECK(p.failure() == std::nullopt);
}

TEST_CASE("process: the sentinel becomes readable when the child has ended, and not before", "[process]") {
  mp::process p({.in = mp::stdio::pipe()}, [] {
    char byte;
    static_cast<void>(!::read(0, &byte, 1));
  });
  p.start();
  mp::unique_fd in = p.take_in();
  REQUIRE(in);
  CHECK_FALSE(p.take_in());
  CHECK_FALSE(p.take_out());
  pollfd sentinel{p.sentinel(), POLLIN, 0};
  CHECK(::poll(&sentinel, 1, 0) == 0);
  in.reset();
  CHECK(readable(p.sentinel()));
  CHECK(p.exit_status() == mp::exit_status::exited(0));
}

TEST_CASE("process: interrupt, terminate and kill end this child with their signal, and do nothing later",
          "[process]") {
  const auto method = any_method();
  mp::process interrupted({.start_method = method}, wait_for_ever), terminated({.start_method = method}, wait_for_ever),
      killed({.start_method = method}, wait_for_ever);
  interrupted.start().interrupt();
  terminated.start().terminate();
  killed.start().kill();
  CHECK(interrupted.join() == mp::exit_status::signaled(SIGINT));
  CHECK(terminated.join() == mp::exit_status::signaled(SIGTERM));
  CHECK(killed.join() == mp::exit_status::signaled(SIGKILL));
  CHECK_NOTHROW(interrupted.interrupt());
  CHECK_NOTHROW(terminated.terminate());
  CHECK_NOTHROW(killed.kill());
}

TEST_CASE("process: names count up, and a child's children carry its name", "[process]") {
  mp::process a(do_nothing), b(do_nothing);
  const std::string first = a.name(), second = b.name();
  CHECK(first.starts_with("process-"));
  CHECK(std::stoi(second.substr(8)) == std::stoi(first.substr(8)) + 1);
  const auto below = run_and_read({.name = "upper"}, start_one_below);
  CHECK_THAT(below.out, contains("upper:1 exited with code 0"));
  CHECK(below.status.success());
}

TEST_CASE("process: active_children lists what runs, and not what has ended", "[process]") {
  mp::process runs({.name = "runner", .daemon = true}, wait_for_ever), ends(do_nothing);
  runs.start();
  ends.start();
  REQUIRE(readable(ends.sentinel()));
  const auto children = mp::this_process::active_children();
  REQUIRE(children.size() == 1);
  CHECK(children[0].name == "runner");
  CHECK(children[0].pid == runs.pid());
  CHECK(children[0].daemon);
  runs.kill();
  runs.join();
  CHECK(mp::this_process::active_children().empty());
}

TEST_CASE("process: letting go of a running child does not end it, and the library reaps it", "[process]") {
  const auto method = any_method();
  const fd_ledger ledger;
  {
    fact_pipe end;
    pid_t pid;
    {
      mp::process p(
          {.start_method = method, .in = mp::stdio::pipe()},
          [](mp::unique_fd told) {
            char byte;
            static_cast<void>(!::read(0, &byte, 1));
            static_cast<void>(!::write(told.get(), "e", 1));
          },
          mp::unique_fd(::dup(end.write_fd())));
      mp::unique_fd in = p.start().take_in();
      pid = p.pid();
      p = mp::process();
      CHECK(::kill(pid, 0) == 0);
      CHECK(mp::this_process::active_children().size() == 1);
    }
    CHECK(end.hear() == 'e');
    CHECK(eventually([] { return mp::this_process::active_children().empty(); }));
    CHECK(eventually([pid] { return ::kill(pid, 0) != 0; }));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: request_stop trips the token of a child that asked for one", "[process]") {
  const auto method = any_method();
  mp::process p({.start_method = method, .out = mp::stdio::pipe()}, write_after_stop);
  p.start();
  p.request_stop();
  CHECK(read_all(p.take_out()) == "stopped");
  CHECK(p.join().success());
  CHECK_NOTHROW(p.request_stop());
}

TEST_CASE("process: async_join completes with the status, and a cancelled one with operation_aborted", "[process]") {
  mp::process p({.in = mp::stdio::pipe()}, [] {
    char byte;
    static_cast<void>(!::read(0, &byte, 1));
    mp::this_process::exit(5);
  });
  p.start();
  auto status = p.async_join(boost::asio::use_future);
  boost::asio::cancellation_signal cancel;
  std::promise<mp::error_code> cancelled;
  p.async_join(boost::asio::bind_cancellation_slot(
      cancel.slot(), [&](mp::error_code why, mp::exit_status) { cancelled.set_value(why); }));
  cancel.emit(boost::asio::cancellation_type::all);
  auto why = cancelled.get_future();
  REQUIRE(why.wait_for(patience) == std::future_status::ready);
  CHECK(why.get() == boost::asio::error::operation_aborted);
  p.take_in().reset();
  REQUIRE(status.wait_for(patience) == std::future_status::ready);
  CHECK(status.get() == mp::exit_status::exited(5));
  CHECK(p.join() == mp::exit_status::exited(5));
}

TEST_CASE("process: several threads may join the same child", "[process]") {
  mp::process p({.in = mp::stdio::pipe()}, [] {
    char byte;
    static_cast<void>(!::read(0, &byte, 1));
    mp::this_process::exit(3);
  });
  p.start();
  std::atomic<int> right{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { right += p.join() == mp::exit_status::exited(3) ? 1 : 0; });
    p.take_in().reset();
  }
  CHECK(right == 4);
}

TEST_CASE("process: many threads may start children at once", "[process]") {
  const auto method = GENERATE(mp::start_method::forkserver, mp::start_method::spawn);
  const fd_ledger ledger;
  std::atomic<int> right{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 6; ++i)
      threads.emplace_back([&right, method, i] {
        for (int k = 0; k < 5; ++k) {
          mp::process p(
              {.start_method = method}, [](int code) { mp::this_process::exit(code); }, i * 5 + k);
          right += p.start().join() == mp::exit_status::exited(i * 5 + k) ? 1 : 0;
        }
      });
  }
  CHECK(right == 30);
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: a handle that fork copied refuses every use with wrong_process", "[process]") {
  mp::process p(wait_for_ever);
  p.start();
  forked_child copy([&p] {
    int wrong = 0;
    const auto refuses = [&wrong](auto f) {
      if (errc_of([&] { return f(), 0; }) != mp::errc::wrong_process) ++wrong;
    };
    refuses([&] { p.join(); });
    refuses([&] { p.kill(); });
    refuses([&] { static_cast<void>(p.is_alive()); });
    refuses([&] { p.close(); });
    return wrong;
  });
  CHECK(copy.wait() == 0);
  CHECK(p.is_alive());
  p.kill();
  p.join();
}

TEST_CASE("process: the first process has no parent, and its name is main", "[process]") {
  CHECK_FALSE(mp::this_process::parent());
  CHECK(mp::this_process::name() == "main");
  CHECK_FALSE(mp::this_process::stop_token().stop_requested());
}
