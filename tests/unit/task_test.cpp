// Calls that travel: what arrives is what was bound, in this process and in others of the same build.

#include "mp/task.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <list>
#include <memory>
#include <stdexcept>

using namespace mp::detail;
using mp_test::program_path;
using mp_test::run_program;

namespace {

class keep_result final : public result_sink {
public:
  void take(const void* result, void (*encode)(encoder&, const void*)) override {
    message = encode_with([&](encoder& e) { encode(e, result); });
    taken = true;
  }
  encoded message;
  bool taken = false;
};

/// Binds a call, sends it through bytes, runs it, and reads its result.
template <class R, class F, class... A>
R travel(F&& f, A&&... args) {
  const bound_call bound = bind_call<true>(std::forward<F>(f), std::forward<A>(args)...);
  encoded sent = serialise_call(bound);
  const auto arrived = parse_call(sent.bytes, std::move(sent.fds));
  std::stop_source stop;
  keep_result result;
  run_call(*arrived, stop.get_token(), &result);
  REQUIRE(result.taken);
  if constexpr (!std::is_void_v<R>) {
    decoder d(result.message.bytes, std::move(result.message.fds));
    return decode<R>(d);
  }
}

int calls = 0;
int add(int a, int b) { return a + b; }
int length_of(const std::string& text) { return static_cast<int>(text.size()); }
int take_both(std::string&& a, std::string b) { return static_cast<int>(a.size() * 10 + b.size()); }
int views(std::string_view text, std::span<const int> numbers, std::span<const double, 2> two) {
  return static_cast<int>(text.size() * 100 + numbers.size() * 10 + two.size());
}
int no_throw(int a) noexcept { return a + 1; }
void count() { ++calls; }
bool can_stop(std::stop_token token, int) { return token.stop_possible(); }
void fail() { throw std::out_of_range("far"); }
const std::string& reference_result() {
  static const std::string text = "text";
  return text;
}
int take_fd(mp::unique_fd& fd) { return ::write(fd.get(), "!", 1) == 1 ? 7 : -1; }

struct counter {
  int from = 0;
  int plus(int n) const { return from + n; }
  int times(int n) & noexcept { return from * n; }
  int moved(int n) && { return from - n; }
};
struct shape {
  int sides = 4;
  virtual ~shape() = default;
  virtual int count() const { return sides; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(sides);
  }
};
struct adder {
  int base = 0;
  std::string note;
  int operator()(int n) const { return base + n + static_cast<int>(note.size()); }
};
struct either {
  int operator()(int n) const { return n; }
  int operator()(const std::string& text) const { return static_cast<int>(text.size()); }
};

}  // namespace

TEST_CASE("task: functions run with their arguments, converted as by a call", "[task][unit]") {
  CHECK(travel<int>(add, 3, 4) == 7);
  CHECK(travel<int>(&add, 3.9, 'a') == 100);
  CHECK(travel<int>(length_of, "literal") == 7);
  CHECK(travel<int>(take_both, "abc", std::string("de")) == 32);
  CHECK(travel<int>(no_throw, 1) == 2);
  calls = 0;
  travel<void>(count);
  CHECK(calls == 1);
}

TEST_CASE("task: a function pointer chosen at run time runs", "[task][unit]") {
  int (*const choices[])(int, int) = {add, [](int a, int b) { return a * b; }};
  CHECK(travel<int>(choices[0], 3, 4) == 7);
  CHECK(travel<int>(choices[1], 3, 4) == 12);
}

TEST_CASE("task: a null function pointer is an invalid argument", "[task][unit]") {
  int (*nothing)(int, int) = nullptr;
  int (counter::*no_member)(int) const = nullptr;
  CHECK_ERRC(bind_call(nothing, 1, 2), invalid_argument);
  CHECK_ERRC(bind_call(no_member, counter{}, 2), invalid_argument);
}

TEST_CASE("task: views travel as owners of what they show", "[task][unit]") {
  CHECK(travel<int>(views, "abc", std::vector{1, 2}, std::array{1.0, 2.0}) == 322);
  const std::string text = "four";
  CHECK(travel<int>(views, text, std::array{1}, std::array{1.0, 2.0}) == 412);
}

TEST_CASE("task: captureless lambdas travel as their type, generic ones with decayed arguments", "[task][unit]") {
  CHECK(travel<int>([](int x) { return x * x * x; }, 6) == 216);
  CHECK(travel<int>([](auto text, auto n) { return static_cast<int>(text.size()) + n; }, "four", 1) == 5);
  CHECK(travel<int>([](const auto& list) { return static_cast<int>(list.size()); }, std::list{1, 2, 3}) == 3);
  CHECK(travel<int>([](auto&&... n) { return (n + ... + 0); }, 1, 2, 3) == 6);
  CHECK(travel<int>(either{}, 5) == 5);
  CHECK(travel<int>(either{}, "text") == 4);
  CHECK(travel<int>(std::plus<>{}, 1, 2) == 3);
  const std::string_view view = "view";
  CHECK(travel<int>([](auto owner) { return static_cast<int>(owner.size()); }, view) == 4);
}

TEST_CASE("task: an aggregate functor travels with its fields", "[task][unit]") {
  CHECK(travel<int>(adder{1, "abc"}, 2) == 6);
}

TEST_CASE("task: member functions run on a copy of their object, virtual ones too", "[task][unit]") {
  CHECK(travel<int>(&counter::plus, counter{4}, 5) == 9);
  CHECK(travel<int>(&counter::times, counter{4}, 5) == 20);
  CHECK(travel<int>(&counter::moved, counter{4}, 5) == -1);
  CHECK(travel<int>(&shape::count, shape{}) == 4);
}

TEST_CASE("task: a callable that can take a stop token first is given one", "[task][unit]") {
  CHECK(travel<bool>(can_stop, 1));
  CHECK(travel<bool>([](const std::stop_token& token) { return token.stop_possible(); }));
  CHECK(travel<bool>([](std::stop_token token, auto) { return token.stop_possible(); }, "x"));
  CHECK(bind_call(can_stop, 1).wants_stop_token);
  CHECK_FALSE(bind_call(add, 1, 2).wants_stop_token);
}

TEST_CASE("task: results decay", "[task][unit]") {
  CHECK(travel<std::string>(reference_result) == "text");
  static_assert(std::is_same_v<result_of_call<decltype(reference_result)>::type, std::string>);
  static_assert(std::is_same_v<result_of_call<decltype(count)>::type, void>);
  static_assert(std::is_same_v<result_of_call<int (*)(int, int), int, int>::type, int>);
}

TEST_CASE("task: a result is not asked to travel where nobody takes it", "[task][unit]") {
  bound_call call = bind_call([](int n) -> int* { return n != 0 ? nullptr : &calls; }, 1);
  CHECK_NOTHROW(run_call(call, {}));
}

TEST_CASE("task: arguments are copied when it is bound", "[task][unit]") {
  std::string text = "before";
  bound_call call = bind_call<true>(length_of, text);
  text = "a longer text after";
  keep_result result;
  run_call(call, {}, &result);
  decoder d(result.message.bytes);
  CHECK(decode<int>(d) == 6);
}

TEST_CASE("task: a handle passed with std::move is handed over, and travels", "[task][unit]") {
  int ends[2] = {};
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const mp::unique_fd read(ends[0]);
  mp::unique_fd write(ends[1]);
  CHECK(travel<int>(take_fd, std::move(write)) == 7);
  CHECK_FALSE(static_cast<bool>(write));
  char heard = 0;
  CHECK(::read(read.get(), &heard, 1) == 1);
  CHECK(::read(read.get(), &heard, 1) == 0);  // nobody holds the other end any more
}

TEST_CASE("task: what could not be bound has taken nothing", "[task][unit]") {
  class sulky {
  public:
    sulky() {}
    sulky(const sulky&) {}
    void save(cereal_writer&) const { throw std::runtime_error("no"); }
    void load(cereal_reader&) {}
  };
  mp::unique_fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK_THROWS_AS(bind_call([](mp::unique_fd, sulky) {}, std::move(fd), sulky()), std::runtime_error);
  CHECK(static_cast<bool>(fd));
}

TEST_CASE("task: what the function throws leaves run_call as it is", "[task][unit]") {
  bound_call call = bind_call(fail);
  CHECK_THROWS_AS(run_call(call, {}), std::out_of_range);
}

TEST_CASE("task: arguments that cannot be read are undecodable, and nothing is called", "[task][unit]") {
  calls = 0;
  const auto make = [] { return bind_call([](const std::string&) { ++calls; }, std::string("text")); };
  const std::size_t size = make().arguments.size();
  for (std::size_t cut = 0; cut < size; ++cut) {
    bound_call call = make();
    call.arguments.resize(cut);
    CHECK_ERRC(run_call(call, {}), undecodable);
  }
  bound_call longer = make();
  longer.arguments.emplace_back();
  CHECK_ERRC(run_call(longer, {}), undecodable);
  CHECK(calls == 0);
}

TEST_CASE("task: an offset that is no code, or another build, is refused before anything is called", "[task][unit]") {
  bound_call data = bind_call(count);
  data.target.offset = 0;  // the ELF header
  CHECK_ERRC(run_call(data, {}), undecodable);
  bound_call beyond = bind_call(count);
  beyond.target.offset = ~std::uint64_t{0} / 2;
  CHECK_ERRC(run_call(beyond, {}), undecodable);
  bound_call other = bind_call(count);
  other.target.build_id[3] ^= std::byte{1};
  CHECK_ERRC(run_call(other, {}), version_mismatch);
  bound_call gone = bind_call(count);
  gone.target.build_id[3] ^= std::byte{1};
  gone.target.module = "/nowhere/plugin.so";
  CHECK_ERRC(run_call(gone, {}), version_mismatch);
}

TEST_CASE("task: any flipped bit of a call is refused, or runs this very code", "[task][unit]") {
  const encoded sent = serialise_call(bind_call([](const std::string&) {}, std::string("text")));
  const call_target target = bind_call([](const std::string&) {}, std::string("text")).target;
  std::size_t refused = 0;
  auto bytes = sent.bytes;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1u << (bit % 8));
    bytes[bit / 8] ^= mask;
    try {
      const auto call = parse_call(bytes, {});
      // Another offset in the code would call whatever lies there: what protects from that is that these bytes come
      // from our own parent. All else must be refused.
      if (call->target.offset == sent.bytes.size() || (bit / 8 >= 20 && bit / 8 < 28))
        throw mp::error(mp::errc::undecodable, "");
      run_call(*call, {});
    } catch (const mp::error& e) {
      ++refused;
    }
    bytes[bit / 8] ^= mask;
  }
  CHECK(refused > 28 * 8);
  CHECK(target.module.empty());
}

TEST_CASE("task: a value; copies share the call, and a default one is none", "[task][unit]") {
  mp::task none;
  CHECK_FALSE(static_cast<bool>(none));
  const mp::task one(add, 1, 2);
  none = one;
  CHECK(static_cast<bool>(none));
  CHECK(call_of(none) == call_of(one));
  const std::vector<mp::task> many = {{add, 1, 2}, {count}, {[] {}}};
  CHECK(many.size() == 3);
}

TEST_CASE("task: messages name what is called", "[task][unit]") {
  CHECK(bind_call([](int) {}, 1).function.find("lambda") != std::string::npos);
  CHECK(bind_call(&counter::plus, counter{}, 1).function.find("counter") != std::string::npos);
  CHECK(bind_call(add, 1, 2).function.find("add(int, int)") != std::string::npos);  // static, in no dynamic table
}

// ---- Other processes. The program `task_traveller` prints a call as text, or runs one that it is given.

namespace {

std::string make(const std::string& program, const std::string& what, const std::string& plugin = {}) {
  const auto made = run_program({program_path(program), "make", what, plugin});
  INFO(made.err);
  REQUIRE(made.code == 0);
  return made.out;
}
std::string run(const std::string& program, const std::string& call) {
  const auto ran = run_program({program_path(program), "run", call});
  INFO(ran.err);
  CHECK(ran.code == 0);
  return ran.out;
}

constexpr const char* all_kinds[] = {"function", "pointer", "lambda", "generic", "aggregate", "member", "virtual"};

}  // namespace

TEST_CASE("task: every kind of callable runs in another process, at other addresses", "[task][unit]") {
  for (const std::string program : {"task_traveller", "task_fixed", "task_nameless"})
    for (const std::string what : all_kinds) {
      INFO(program << " " << what);
      CHECK(run(program, make(program, what)) == "42");
    }
}

TEST_CASE("task: another program refuses the call as version_mismatch", "[task][unit]") {
  const std::string programs[] = {"task_traveller", "task_fixed", "task_nameless"};
  for (const auto& from : programs)
    for (const auto& to : programs)
      if (from != to) {
        INFO(from << " to " << to);
        CHECK(run(to, make(from, "lambda")) == "version_mismatch");
      }
}

TEST_CASE("task: code of a plugin runs where the plugin is not loaded yet, and only in the same build",
          "[task][unit]") {
  namespace fs = std::filesystem;
  std::string folder = (fs::temp_directory_path() / "mp-task-XXXXXX").string();
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const fs::path plugin = fs::path(folder) / "plugin.so";

  fs::copy_file(std::getenv("MP_TASK_PLUGIN_ONE"), plugin);
  const std::string lambda = make("task_traveller", "plugin", plugin);
  const std::string pointer = make("task_traveller", "plugin_pointer", plugin);
  CHECK(run("task_traveller", lambda) == "42");
  CHECK(run("task_traveller", pointer) == "42");

  // The same path, another build.
  fs::remove(plugin);
  fs::copy_file(std::getenv("MP_TASK_PLUGIN_TWO"), plugin);
  CHECK(run("task_traveller", lambda) == "version_mismatch");
  CHECK(run("task_traveller", pointer) == "version_mismatch");

  fs::remove(plugin);
  CHECK(run("task_traveller", lambda) == "version_mismatch");
  fs::remove_all(folder);
}
