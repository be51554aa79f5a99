// 05_crash: some inputs crash, hang or eat memory; all good answers arrive, the rest is explained in a table.
//
// A worker that dies takes one item along, never the pool: `outcomes` gives each input's result or why there is none.
// With a deadline a task that hangs is stopped; with a limit one that eats memory meets std::bad_alloc.

#include <unistd.h>
#include <chrono>
#include <csignal>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mp/mp.hpp>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

int work(int input) {
  switch (input) {
    case 3: std::raise(SIGSEGV); break;
    case 5: throw std::domain_error("there is no work for 5");
    case 8:
      for (;;) ::pause();
    case 11: std::raise(SIGKILL); break;
    case 14: {
      std::vector<std::unique_ptr<char[]>> all;
      for (;;) all.emplace_back(new char[256 << 20]);
    }
    case 17: ::_exit(9);
    default: break;
  }
  return input * 10;
}

std::string explain(const mp::outcome<int>& o) {
  if (const auto* death = o.post_mortem()) {
    const std::string how = "its worker was " + mp::to_string(death->status);
    return death->why == mp::death::deadline ? "its deadline was over; " + how
           : death->status.is_exited()       ? "its worker " + mp::to_string(death->status)
                                             : how;
  }
  if (const auto* failure = o.failure()) return failure->type_name + ": " + failure->what;
  return o.code().message();
}

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::pool pool{{.workers = 2, .limits = {.memory = std::size_t{4} << 30, .core = 0}}};

  int good = 0, sum = 0;
  std::map<std::size_t, std::string> bad;
  for (const auto& o : pool.outcomes(work, std::views::iota(0, 20), {.deadline = 2s})) {
    if (o) {
      ++good;
      sum += *o;
    } else {
      bad[o.index] = explain(o);
    }
  }
  std::cout << good << " answers arrived, their sum is " << sum << "; the rest:\n";
  for (const auto& [input, why] : bad) std::cout << std::setw(6) << input << "  " << why << '\n';
}
