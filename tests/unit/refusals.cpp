// Programs that must not compile, all in one file: each line with a comment "refused: TEXT" must give a static assertion
// that begins with "mp: " and holds TEXT. refusals.py compiles it and compares; no other line may fail.

#include "mp/task.hpp"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string_view>

using namespace mp::detail;

struct point {
  int x = 0, y = 0;
};
struct point_3 : point {
  int z = 0;
};
struct with_pointer {
  std::string name;
  long* where = nullptr;
};
struct with_view {
  std::vector<std::wstring_view> words;
};
class closed {
public:
  explicit closed(int n) : n_(n) {}
  int n() const { return n_; }

private:
  int n_;
};
class closed_too : closed {
  using closed::closed;
};
struct salted_less {
  int salt = 0;
  bool operator()(int a, int b) const { return (a ^ salt) < (b ^ salt); }
};
struct abstract {
  virtual ~abstract() = default;
  virtual void act() = 0;
};

template <class T>
void message(const T& value) {
  encoder e({});
  encode(e, value);
}

struct half_private {
  int number = 0;

private:
  friend class cereal::access;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number);
  }
};
class changes_while_saved {
public:
  changes_while_saved() {}
  template <class Archive>
  void save(Archive&) {}
  template <class Archive>
  void load(Archive&) {}
};

struct with_array {
  int n = 0;
  double values[3] = {};
};
struct with_name {
  char name[16] = "";
  std::string text;
};
struct with_pair {
  double both[2] = {};
};

void arrays(with_array numbers, with_name letters, std::vector<with_pair> many) {
  message(numbers);  // refused: an aggregate with a C array is not walked
  message(letters);  // refused: an aggregate with a C array is not walked
  message(many);     // refused: an aggregate with a C array is not walked
}

void messages(with_pointer pointer_inside, with_view view_inside, point_3 derived, closed unknown, int* pointer) {
  message(pointer);                                   // refused: pointer or C array means nothing in another process
  message("literal");                                 // refused: pointer or C array means nothing in another process
  message(pointer_inside);                            // refused: pointer or C array means nothing in another process
  message(std::string_view("x"));                     // refused: does not own what it shows
  message(view_inside);                               // refused: does not own what it shows
  message(std::span<int>());                          // refused: does not own what it shows
  message(std::ref(pointer_inside));                  // refused: does not own what it shows
  message(std::weak_ptr<int>());                      // refused: does not own what it shows
  message(std::function<void()>());                   // refused: a function cannot be part of a message
  message(&messages);                                 // refused: a function cannot be part of a message
  message(std::set<int, salted_less>());              // refused: order, hash or equality carries a value
  message(std::make_unique<int[]>(3));                // refused: does not know its length
  message(derived);                                   // refused: base classes is not walked
  message(unknown);                                   // refused: the codec does not know this type
  message(std::unique_ptr<abstract>());               // refused: this one is abstract
  message(half_private());                            // refused: keeps its serialize to itself
  message(changes_while_saved());                     // refused: the save function of a type must be const
  message(std::vector<std::map<int, closed_too>>());  // refused: the codec does not know this type
}

int plain(int n) { return n; }
int writes(int& n) { return ++n; }
int fills(std::span<int> n) { return n[0]; }
int takes_pointer(const char* text) { return text[0]; }
int takes_fd(mp::unique_fd) { return 0; }
int with_default(int n, int m = 2) { return n + m; }
int* gives_pointer() { return nullptr; }
std::string_view gives_view() { return {}; }
struct worker {
  int id = 0;
  int run(int n) const { return n + id; }
};

void calls(int n, worker w, mp::unique_fd fd) {
  const auto capture = [n](int m) { return n + m; };
  const auto takes_text = [](auto text) -> decltype(text.size()) { return text.size(); };
  const auto capture_too = [n](long m) { return n + m; };
  std::function<int(int)> hidden = plain;
  bind_call(capture, 1);                  // refused: a callable with captures cannot travel
  bind_call(hidden, 1);                   // refused: hide what they hold
  bind_call(std::bind(plain, 1));         // refused: hide what they hold
  bind_call(std::ref(plain), 1);          // refused: std::ref means nothing in another process
  bind_call(&worker::id, w);              // refused: a pointer to a data member is no task
  bind_call(&w);                          // refused: a pointer to an object means nothing
  bind_call(n);                           // refused: this is no callable
  bind_call(plain);                       // refused: the number of arguments
  bind_call(with_default, 1);             // refused: the number of arguments
  bind_call(plain, std::string("x"));     // refused: an argument does not convert
  bind_call(writes, n);                   // refused: takes a reference, but it gets a copy
  bind_call(takes_text, n);               // refused: cannot be called with these arguments
  bind_call(fills, std::vector<int>{1});  // refused: takes a span to write to
  bind_call(takes_pointer, "x");          // refused: pointer or C array means nothing in another process
  bind_call(takes_fd, fd);                // refused: pass it with std::move
  bind_call(&worker::run, &w, 1);         // refused: pass the object, not a pointer
  bind_call<true>(gives_pointer);         // refused: the result cannot travel
  bind_call<true>(gives_view);            // refused: the result cannot travel
  mp::task(capture_too, 1);               // refused: a callable with captures cannot travel
}
