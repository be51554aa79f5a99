// What is compiled, never run, to see how long a program with the whole library in it takes.

#include <mp/mp.hpp>

#include <iostream>
#include <string>

namespace {
void talk(mp::queue<std::string> q) { q.put("hello from " + std::to_string(mp::this_process::pid())); }
}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::queue<std::string> q;
  mp::process p{talk, q};
  p.start();
  std::cout << q.get() << '\n';
  p.join();
}
