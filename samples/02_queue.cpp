// 02_queue: a message with numbers, nothing and a word goes through a queue.
//
// The queue slide of Python's PEP 371, in C++:
//
//     def f(q): q.put([42, None, 'hello'])
//     q = Queue()
//     p = Process(target=f, args=(q,))
//     p.start()
//     print(q.get())    # [42, None, 'hello']
//     p.join()
//
// A Python list holds anything; here the type says what a message may hold. Standard containers, variants, optionals
// and plain structs of them travel as they are. The queue itself is an argument like any other: in the child it is the
// same queue.

#include <iostream>
#include <mp/mp.hpp>
#include <string>
#include <variant>
#include <vector>

using item = std::variant<std::monostate, int, double, std::string>;  // nothing, a number, another kind of it, a word
using message = std::vector<item>;

void f(mp::queue<message> q) {
  q.put({42, std::monostate{}, "hello"});
  q.put({0.5, 7});
}

struct printer {
  std::ostream& out;
  void operator()(std::monostate) const { out << "None"; }
  void operator()(const std::string& word) const { out << '\'' << word << '\''; }
  void operator()(auto number) const { out << number; }
};

void print(const message& m) {
  std::cout << '[';
  for (const char* between = ""; const item& value : m) {
    std::cout << between;
    std::visit(printer{std::cout}, value);
    between = ", ";
  }
  std::cout << "]\n";
}

int main(int argc, char** argv) {
  mp::init(argc, argv);

  mp::queue<message> q;
  mp::process p{f, q};
  p.start();
  print(q.get());  // waits until a message is there
  print(q.get());
  return p.join().success() ? 0 : 1;
}
