// Prints a call as text (make WHAT [PLUGIN]), or runs a call that it is given as text and prints its result (run TEXT).
// Built several times: position-independent, at a fixed address, without a build-id.

#include "mp/detail/call.hpp"
#include "mp/error.hpp"

#include <dlfcn.h>
#include <cstdio>
#include <cstring>
#include <string>

using namespace mp::detail;

namespace {

int add(int a, int b) { return a + b; }

struct counter {
  int from = 0;
  int plus(int n) const { return from + n; }
};
class shape {
public:
  virtual ~shape() = default;
  virtual int sides() const { return 42; }
  template <class Archive>
  void serialize(Archive&) {}
};
struct adder {
  int base = 0;
  std::string note;
  int operator()(int n) const { return base + n + static_cast<int>(note.size()); }
};

void print(const bound_call& call) {
  for (const std::byte b : serialise_call(call).bytes) std::printf("%02x", static_cast<unsigned>(b));
}

class print_result final : public result_sink {
public:
  void take(const void* result, void (*encode)(encoder&, const void*)) override {
    const auto message = encode_with([&](encoder& e) { encode(e, result); });
    decoder d(message.bytes);
    std::printf("%d", decode<int>(d));
  }
};

int make(const std::string& what, const char* plugin) {
  if (what == "function") print(bind_call<true>(add, 40, 2));
  if (what == "pointer") {
    int (*const choices[])(int, int) = {[](int a, int b) { return a - b; }, add};
    print(bind_call<true>(choices[what.size() % 2], 40, 2));
  }
  if (what == "lambda") print(bind_call<true>([](int n) { return n * 2; }, 21));
  if (what == "generic") print(bind_call<true>([](auto text) { return static_cast<int>(text.size()) + 38; }, "four"));
  if (what == "aggregate") print(bind_call<true>(adder{30, "ab"}, 10));
  if (what == "member") print(bind_call<true>(&counter::plus, counter{40}, 2));
  if (what == "virtual") print(bind_call<true>(&shape::sides, shape()));
  if (what.starts_with("plugin")) {
    void* const library = ::dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    if (!library) return std::fprintf(stderr, "%s\n", ::dlerror()), 1;
    void* const entry = ::dlsym(library, what == "plugin" ? "make_call" : "find_function");
    if (what == "plugin")
      reinterpret_cast<void (*)(void (*)(const bound_call&))>(entry)(print);
    else  // a function of the plugin, called by a thunk of the program
      print(bind_call<true>(reinterpret_cast<int (*(*)())(int)>(entry)(), 21));
  }
  return 0;
}

int run(const char* text) {
  std::vector<std::byte> bytes;
  for (unsigned byte = 0; std::sscanf(text, "%2x", &byte) == 1; text += 2)
    bytes.push_back(static_cast<std::byte>(byte));
  print_result result;
  try {
    run_call(*parse_call(bytes, {}), {}, &result);
  } catch (const mp::error& e) {
    std::printf("%s", e.code() == mp::errc::version_mismatch ? "version_mismatch" : e.what());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  return std::strcmp(argv[1], "make") == 0 ? make(argv[2], argc > 3 ? argv[3] : "") : run(argv[2]);
}
