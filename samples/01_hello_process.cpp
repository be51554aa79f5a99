// 01_hello_process: a function runs in a process of its own; its argument travels there.
//
// The first slide of Python's PEP 371, in C++:
//
//     def say_hello(name): print('hello', name)
//     p = Process(target=say_hello, args=('bob',))
//     p.start()
//     p.join()
//
// `mp::init` comes first in main: a new process starts at the beginning of this same program, and for it `init` runs
// `say_hello` and never returns. Any function will do; there is no macro and nothing to register.

#include <iostream>
#include <mp/mp.hpp>
#include <string>

void say_hello(const std::string& name) { std::cout << "hello " << name << '\n'; }

int main(int argc, char** argv) {
  mp::init(argc, argv);

  mp::process p{say_hello, "bob"};
  p.start();
  const mp::exit_status status = p.join();

  std::cout << "process " << p.pid() << " (" << p.name() << ") " << status << '\n';
  return status.success() ? 0 : 1;
}
