// The line of progress: drawn where a person looks, and nowhere else.

#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "mp/unique_fd.hpp"
#include "pool_tasks.hpp"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <functional>
#include <list>
#include <ranges>
#include <regex>
#include <sstream>
#include <string>
#include <tuple>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

constexpr int many = 100;
enum class form { map, starmap, for_each, unsized };

/// The second half of the items waits until the gate is open.
struct gated {
  mp::queue<int> gate;
  int operator()(int x) const {
    if (x >= many / 2) gate.get();
    return x;
  }
};

/// What the child does whose standard error stream is looked at.
void map_in_a_process(form how, bool progress, const mp::queue<int>& gate) {
  mp::pool p(2);
  const gated f{gate};
  mp::map_options options = progress ? mp::progress : mp::map_options{};
  options.chunk = 1;
  const auto in = numbers(many);
  bool right = true;
  switch (how) {
    case form::map: right = p.map(f, in, options) == in; break;
    case form::starmap: {
      std::list<std::tuple<int>> tuples;
      for (const int i : in) tuples.emplace_back(i);
      right = p.starmap(f, tuples, options) == in;
      break;
    }
    case form::for_each: p.for_each(f, in, options); break;
    case form::unsized: {
      std::stringstream text;
      for (const int i : in) text << i << ' ';
      right = p.map(f, std::ranges::istream_view<int>(text), options) == in;
      break;
    }
  }
  mp::this_process::exit(right ? 0 : 1);
}

struct terminal {
  mp::unique_fd ours, theirs;
};
bool has_terminals() { return mp::unique_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)).get() >= 0; }
terminal open_terminal() {
  terminal t;
  t.ours = mp::unique_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  char name[64];
  REQUIRE(t.ours.get() >= 0);
  REQUIRE(::grantpt(t.ours.get()) == 0);
  REQUIRE(::unlockpt(t.ours.get()) == 0);
  REQUIRE(::ptsname_r(t.ours.get(), name, sizeof name) == 0);
  t.theirs = mp::unique_fd(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(t.theirs.get() >= 0);
  return t;
}

/// Reads until `enough`; false: nobody can write any more, or patience is over.
bool read_until(int fd, std::string& text, const std::function<bool()>& enough) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!enough()) {
    if (std::chrono::steady_clock::now() > end) return false;
    pollfd one{fd, POLLIN, 0};
    REQUIRE(::poll(&one, 1, static_cast<int>(patience / 1ms)) == 1);
    char bytes[4096];
    const auto n = ::read(fd, bytes, sizeof bytes);
    if (n <= 0) return false;  // 0, or EIO of a terminal
    text.append(bytes, static_cast<std::size_t>(n));
  }
  return true;
}
bool holds(const std::string& text, const std::regex& what) { return std::regex_search(text, what); }

}  // namespace

TEST_CASE("pool: progress draws one line with rate and remaining time where stderr is a terminal", "[pool][progress]") {
  if (!has_terminals()) MP_SKIP("no terminals can be made here (is /dev/pts mounted?)");
  const fd_ledger ledger;
  for (const form how : {form::map, form::starmap, form::for_each, form::unsized}) {
    CAPTURE(static_cast<int>(how));
    terminal screen = open_terminal();
    mp::queue<int> gate;
    mp::process p{{.err = mp::stdio::fd(screen.theirs.get())}, map_in_a_process, how, true, gate};
    p.start();
    screen.theirs.reset();

    // It stays half way until its line has been seen.
    std::string seen;
    const bool sized = how != form::unsized;
    const std::regex half(sized ? "\r50 of 100, \\d+/s, \\d+ s left\x1b\\[K" : "\r50, \\d+/s\x1b\\[K");
    CHECK(read_until(screen.ours.get(), seen, [&] { return holds(seen, half); }));
    for (int i = 0; i < many / 2; ++i) gate.put(i);
    CHECK_FALSE(read_until(screen.ours.get(), seen, [] { return false; }));

    INFO(seen);
    // Written over again and again, and left as it stands at the end.
    const std::string total = sized ? " of 100" : "";
    const std::string one = "\r\\d+" + total + ", \\d+/s(, \\d+ s left)?\x1b\\[K",
                      last = "\r100" + total + ", \\d+/s\x1b\\[K\r\n";
    CHECK(std::regex_match(seen, std::regex("(" + one + ")+" + last)));
    const auto status = p.join_for(patience);
    REQUIRE(status);
    CHECK(status->success());
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: progress draws nothing where stderr is no terminal, nor where nobody asked for it",
          "[pool][progress]") {
  if (!has_terminals()) MP_SKIP("no terminals can be made here (is /dev/pts mounted?)");
  const fd_ledger ledger;
  for (const bool asked : {true, false})
    for (const form how : {form::map, form::starmap, form::for_each, form::unsized}) {
      CAPTURE(asked, static_cast<int>(how));
      terminal screen;
      if (!asked) screen = open_terminal();
      mp::queue<int> gate;
      mp::process p{
          {.err = asked ? mp::stdio::pipe() : mp::stdio::fd(screen.theirs.get())}, map_in_a_process, how, asked, gate};
      p.start();
      screen.theirs.reset();
      const mp::unique_fd hears = asked ? p.take_err() : std::move(screen.ours);
      for (int i = 0; i < many / 2; ++i) gate.put(i);
      std::string seen;
      CHECK_FALSE(read_until(hears.get(), seen, [] { return false; }));
      CHECK(seen.empty());  // even the last line, which is drawn without waiting
      const auto status = p.join_for(patience);
      REQUIRE(status);
      CHECK(status->success());
    }
  CHECK_CLEAN(ledger);
}
