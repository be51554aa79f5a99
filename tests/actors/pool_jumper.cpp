// A program whose main is a place to jump to, as an interpreter's may be. Ends with 0 if a pool tells of a task that does.

#include "mp/pool.hpp"

#include <csetjmp>
#include <iostream>
#include <string_view>

namespace {

std::jmp_buf top;
int jump_to_main(int x) { std::longjmp(top, x); }
int twice(int x) { return 2 * x; }

int ask(mp::start_method method) {
  mp::pool p({.workers = 2, .start_method = method});
  for (int again = 0; again < 3; ++again) {
    try {
      std::cout << "an invented answer: " << p.apply(jump_to_main, 7) << '\n';
      return 1;
    } catch (const mp::worker_died& e) {
      std::cout << e.what() << '\n';
      if (e.post_mortem().status != mp::exit_status::exited(7)) return 2;
    }
    if (p.apply(twice, 2) != 4) return 3;
  }
  return p.stats().worker_deaths == 3 ? 0 : 4;
}

}  // namespace

int main(int argc, char** argv) {
  if (const int came = setjmp(top)) return came;
  mp::init(argc, argv);
  return ask(argv[1] == std::string_view("spawn") ? mp::start_method::spawn : mp::start_method::forkserver);
}
