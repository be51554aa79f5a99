// User code that fails while a value is written, read, used or destroyed. FAULTS rows 75, 76, 77.
// A table: {throw, abort, exit, _exit, segv} x {encode or decode as argument, run, encode in put, decode in get, destroy}.
// Must not let anything fail in the test's own process but what throws.

#include "channel_faults.hpp"

#include <csignal>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <utility>

using namespace mp_test;

namespace {

enum class when { encode, decode, destroy, never };
enum class how { throws, aborts, exits, exits_at_once, segv };

constexpr how hows[] = {how::throws, how::aborts, how::exits, how::exits_at_once, how::segv};
const char* name_of(how h) {
  const char* const names[] = {"throw", "abort", "exit", "_exit", "segv"};
  return names[static_cast<int>(h)];
}

void fail(how h) {
  switch (h) {
    case how::throws: throw std::runtime_error("it does not want to");
    case how::aborts: std::abort();
    case how::exits: mp::this_process::exit(7);
    case how::exits_at_once: ::_exit(8);
    case how::segv: std::raise(SIGSEGV); ::_exit(9);
  }
}

// Fails at its moment, but only in a process that has armed it.
struct bomb {
  when moment = when::never;
  how kind = how::throws;
  static inline bool armed = false;

  bomb() = default;
  bomb(when m, how k) : moment(m), kind(k) {}
  bomb(const bomb&) = default;
  bomb& operator=(const bomb&) = default;
  ~bomb() {  // what it throws never leaves it: std::terminate
    if (armed && moment == when::destroy) fail(std::exchange(kind, how::exits_at_once));
  }
};

// The same, always armed, and read as an argument: the child cannot arm anything before.
struct argument_bomb {
  when moment = when::never;
  how kind = how::throws;
  pid_t maker = ::getpid();
};

}  // namespace

template <>
struct mp::codec<bomb> {
  static std::pair<int, int> encode(const bomb& b) {
    if (bomb::armed && b.moment == when::encode) fail(b.kind);
    return {static_cast<int>(b.moment), static_cast<int>(b.kind)};
  }
  static bomb decode(std::pair<int, int>&& fields) {
    bomb b(static_cast<when>(fields.first), static_cast<how>(fields.second));
    if (bomb::armed && b.moment == when::decode) fail(b.kind);
    return b;
  }
};

template <>
struct mp::codec<argument_bomb> {
  static std::pair<int, int> encode(const argument_bomb& b) {
    if (b.moment == when::encode) fail(b.kind);
    return {static_cast<int>(b.moment), static_cast<int>(b.kind)};
  }
  static argument_bomb decode(std::pair<int, int>&& fields) {
    if (static_cast<when>(fields.first) == when::decode) fail(static_cast<how>(fields.second));
    return {static_cast<when>(fields.first), static_cast<how>(fields.second)};
  }
};

namespace {

void take_argument(argument_bomb) {}
void run_and_fail(int kind) { fail(static_cast<how>(kind)); }

/// Encodes an argument that fails, in a process where it may.
void pass_argument(int kind, mp::sender<note> notes) {
  const std::string end = outcome_of([&] {
    mp::process p(take_argument, argument_bomb{when::encode, static_cast<how>(kind)});
  });
  notes.put({0, end, static_cast<std::int64_t>(mp::this_process::active_children().size())});
}

void put_bomb(int kind, mp::sender<bomb> out, mp::sender<note> notes) {
  bomb::armed = true;
  const std::string end = outcome_of([&] { out.put(bomb(when::encode, static_cast<how>(kind))); });
  out.put(bomb());
  notes.put({0, end});
}

void get_bomb(mp::receiver<bomb> in, mp::sender<note> notes) {
  bomb::armed = true;
  const std::string end = outcome_of([&] { in.get(); });
  const std::string next = outcome_of([&] { in.get(); });
  notes.put({0, end + ", then " + next});
}

void destroy_bomb(int kind) {
  bomb::armed = true;
  const bomb b(when::destroy, static_cast<how>(kind));
}

// How a process ends in which `h` happens outside of a function that catches.
mp::exit_status end_by(how h) {
  switch (h) {
    case how::throws: return mp::exit_status::exited(1);
    case how::aborts: return mp::exit_status::signaled(SIGABRT);
    case how::exits: return mp::exit_status::exited(7);
    case how::exits_at_once: return mp::exit_status::exited(8);
    case how::segv: break;
  }
  return mp::exit_status::signaled(SIGSEGV);
}

bool same_end(const mp::exit_status& a, const mp::exit_status& b) {  // whether core was dumped is the machine's affair
  return a.code() == b.code() && a.signal() == b.signal();
}

template <class... A>
mp::process start(mp::start_method method, A&&... a) {
  return mp::process{{.start_method = method, .err = mp::stdio::null()}, std::forward<A>(a)...}.start();
}

}  // namespace

TEST_CASE("process: code that fails in an argument, in the function or in a message ends as it says, and harms nobody",
          "[process][queue][faults]") {
  const mp::start_method method =
      GENERATE(mp::start_method::forkserver, mp::start_method::spawn, mp::start_method::fork_with_threads);
  const how h = GENERATE(from_range(std::begin(hows), std::end(hows)));
  CAPTURE(static_cast<int>(method), name_of(h));
  const int kind = static_cast<int>(h);
  const bool throws = h == how::throws;
  const fd_ledger ledger = holdings_now();
  {
    // Encode an argument: what it throws reaches the caller as it is, and nothing was started.
    mp::queue<note> notes;
    mp::process passing = start(method, pass_argument, kind, notes.sender());
    if (throws) {
      REQUIRE_NOTE(n, notes);
      CHECK(n.what == "it does not want to");
      CHECK(n.number == 0);
    }
    CHECK(same_end(passing.join(), throws ? mp::exit_status::exited(0) : end_by(h)));
  }
  {
    // Decode an argument: the function is never entered.
    mp::process decoding = start(method, take_argument, argument_bomb{when::decode, h});
    const mp::exit_status status = decoding.join();
    CHECK(same_end(status, end_by(h)));
    if (throws) {
      REQUIRE(decoding.failure().has_value());
      CHECK_THAT(decoding.failure()->what, contains("it does not want to"));
    }
  }
  {
    mp::process running = start(method, run_and_fail, kind);
    CHECK(same_end(running.join(), end_by(h)));
    if (throws) {
      REQUIRE(running.failure().has_value());
      CHECK(running.failure()->what == "it does not want to");
      CHECK_THAT(running.failure()->type_name, contains("runtime_error"));
    }
  }
  {
    // Encode in put: nothing of it is in the queue, and the queue goes on for everybody.
    mp::queue<bomb> q;
    mp::queue<note> notes;
    mp::process putting = start(method, put_bomb, kind, q.sender(), notes.sender());
    if (throws) {
      REQUIRE_NOTE(n, notes);
      CHECK(n.what == "it does not want to");
    }
    CHECK(same_end(putting.join(), throws ? mp::exit_status::exited(0) : end_by(h)));
    q.put(bomb());
    for (int expected = throws ? 2 : 1; expected > 0; --expected) {
      const auto b = q.get_for(patience);
      REQUIRE(b.has_value());
      CHECK(b->moment == when::never);
    }
    CHECK(q.empty());
  }
  {
    // Decode in get: a throw is that message's own end; a process that dies has it in hand.
    mp::queue<bomb> q;
    mp::queue<note> notes;
    q.put(bomb(when::decode, h));
    q.put(bomb());
    mp::process getting = start(method, get_bomb, q.receiver(), notes.sender());
    if (throws) {
      REQUIRE_NOTE(n, notes);
      CHECK(n.what == "undecodable, then nothing");
    }
    CHECK(same_end(getting.join(), throws ? mp::exit_status::exited(0) : end_by(h)));
    if (!throws) {
      CHECK(q.get_for(patience).has_value());  // the next one is still there
      std::vector<mp::lost_item<bomb>> lost;
      const bool exits_in_order = h == how::exits;  // who leaves in order has nothing in hand any more
      CHECK(eventually([&] {
        for (auto& l : q.take_lost()) lost.push_back(std::move(l));
        return exits_in_order || !lost.empty();
      }));
      if (!exits_in_order) {
        REQUIRE(lost.size() == 1);
        CHECK(lost[0].item.moment == when::decode);
        CHECK(lost[0].consumer == getting.pid());
      }
    }
    CHECK(q.empty());
  }
  {
    mp::process destroying = start(method, destroy_bomb, kind);
    CHECK(same_end(destroying.join(), end_by(throws ? how::aborts : h)));
  }
  CHECK_CLEAN(ledger);
}
