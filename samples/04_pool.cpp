// 04_pool: worker processes map a function over a range.
//
// The slide of Python's PEP 371, in C++:
//
//     def f(x): return x*x*x
//     with Pool(processes=6) as pool:
//         print(pool.map(f, range(1, 7)))
//
// `map` gives the results in the order of its input. `submit` gives a future, `imap` results while the input is still
// read; an input without an end is fine, because only so much is read ahead.

#include <iostream>
#include <mp/mp.hpp>
#include <ranges>
#include <string>

int cube(int x) { return x * x * x; }

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::pool pool{6};

  for (const int v : pool.map(cube, std::views::iota(1, 7))) std::cout << v << ' ';
  std::cout << '\n';

  auto answer = pool.submit([](std::string text, int times) { return text + std::to_string(times); }, "submitted ", 1);
  std::cout << answer.get() << '\n';

  long sum = 0;
  for (const int v : pool.imap(cube, std::views::iota(1))) {
    sum += v;
    if (v > 1'000'000) break;
  }
  std::cout << "the sum of the cubes from 1 to 101 is " << sum << '\n';
}
