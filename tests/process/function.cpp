// What a child's function is given, and what becomes of it at its end.

#include "process_support.hpp"

#include <fcntl.h>
#include <cstdint>
#include <iostream>
#include <numeric>
#include <string_view>
#include <vector>

using namespace mp_test;

namespace {

void start_one_below() {
  mp::process p(do_nothing);
  p.start();
  std::cout << p.name() << ' ' << p.join() << '\n';
}

void leave_hooks() {
  mp::at_exit([] { std::cout << "first added, "; });
  mp::at_exit([] { std::cout << "last added, "; });
  std::cout << "function, ";
}

void exit_from_below() {
  mp::at_exit([] { std::cout << "hook"; });
  mp::this_process::exit(7);
}

void sum(const std::vector<std::uint32_t>& numbers, std::string_view word) {
  std::cout << std::accumulate(numbers.begin(), numbers.end(), std::uint64_t{0}) << ' ' << word.size();
}

void hold(mp::unique_fd) {}

}  // namespace

TEST_CASE("process: arguments of any size arrive whole", "[process]") {
  const auto method = any_method();
  const std::size_t count = GENERATE(std::size_t{1}, std::size_t{5'000}, std::size_t{20'000}, std::size_t{4'000'000});
  CAPTURE(static_cast<int>(method), count);
  const auto child = run_and_read({.start_method = method}, sum, std::vector<std::uint32_t>(count, 3), "word");
  CHECK(child.out == std::to_string(count * 3) + " 4");
  CHECK(child.status.success());
}

TEST_CASE("process: hundreds of descriptors travel as arguments", "[process]") {
  std::vector<mp::unique_fd> fds;
  for (int i = 0; i < 450; ++i) fds.emplace_back(::dup(2));
  const auto child = run_and_read(
      {},
      [](std::vector<mp::unique_fd> all) {
        std::size_t open = 0;
        for (const auto& fd : all) open += ::fcntl(fd.get(), F_GETFD) == FD_CLOEXEC ? 1u : 0u;
        std::cout << open;
      },
      std::move(fds));
  CHECK(child.out == "450");
}

TEST_CASE("process: after start the parent no longer holds what it passed", "[process]") {
  const auto method = any_method();
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const mp::unique_fd read(ends[0]);
  mp::process p({.start_method = method}, hold, mp::unique_fd(ends[1]));
  p.start();
  CHECK(read_all(read).empty());
  CHECK(p.join().success());
}

TEST_CASE("process: children nest under every start method", "[process]") {
  const auto method = any_method();
  const auto child = run_and_read({.name = "a", .start_method = method}, start_one_below);
  CHECK_THAT(child.out, contains("a:1 "));
  CHECK_THAT(child.out, contains("exited with code 0"));
}

TEST_CASE("process: the default start method is inherited by children", "[process]") {
  const auto before = mp::get_start_method();
  mp::set_start_method(mp::start_method::spawn);
  const auto child = run_and_read({.start_method = mp::start_method::forkserver},
                                  [] { std::cout << (mp::get_start_method() == mp::start_method::spawn); });
  mp::set_start_method(before);
  CHECK(child.out == "1");
}

TEST_CASE("process: a daemon's children are daemons", "[process]") {
  const auto child = run_and_read({.daemon = true}, [] { std::cout << mp::process(do_nothing).daemon(); });
  CHECK(child.out == "1");
}

TEST_CASE("process: a child that ends runs its hooks, last added first, and loses no output", "[process]") {
  const auto method = any_method();
  CHECK(run_and_read({.start_method = method}, leave_hooks).out == "function, last added, first added, ");
  const auto left = run_and_read({.start_method = method}, exit_from_below);
  CHECK(left.out == "hook");
  CHECK(left.status == mp::exit_status::exited(7));
}

TEST_CASE("process: a child waits for its own children before it ends, and ends its daemons", "[process]") {
  const auto method = any_method();
  const auto parent = run_and_read({.start_method = method}, [] {
    mp::process({.daemon = true}, wait_for_ever).start();
    mp::process({.in = mp::stdio::inherit()}, [] { std::cout << "below, "; }).start();
  });
  CHECK(parent.out == "below, ");
  CHECK(parent.status.success());
}
