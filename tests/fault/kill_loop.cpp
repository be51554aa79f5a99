// Random kills of producers and consumers, with a ledger that only a separate checker reads (FAULTS rows 3 to 6, 16, 85,
// 92). What a put that returned has put is delivered or reported, once. Prints its seed; MP_TEST_SEED repeats a run.

#include "ring_rig.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <csignal>
#include <random>
#include <thread>

namespace {

using namespace mp_fault;

constexpr u64 producers = 4, consumers = 2;
constexpr u64 max_items = u64{1} << 22;  // of one producer in one round

/// Children write, the checker reads.
struct book {
  struct line {
    std::atomic<u64> began, returned;  // the next number it begins with; how many puts returned
  } of[producers];
  std::atomic<u64> gets, damaged;
  std::atomic<std::uint8_t> put[producers][max_items];  // 1: the put returned
  std::atomic<std::uint8_t> got[producers][max_items];  // how often a consumer got it
};

template <class T>
struct shared_object {
  T* at;
  shared_object() {
    void* page = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    at = static_cast<T*>(page);  // zero is the beginning of everything in it
  }
  ~shared_object() { ::munmap(at, sizeof(T)); }
};

struct dice {
  std::mt19937_64 engine;
  u64 below(u64 n) { return engine() % n; }
  /// 1 us to 10 ms, as many of each magnitude.
  void pause() {
    const double us = std::pow(10.0, static_cast<double>(below(4000)) / 1000.0);
    let_pass(std::chrono::nanoseconds(static_cast<long>(us * 1000)));
  }
};

pid_t child(travelling&& handle, const std::function<void(imported_handle&)>& run) {
  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid != 0) {
    handle.fds.clear();
    return pid;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(9);
  try {
    imported_handle h = arrive(std::move(handle));
    run(h);
    ::_exit(0);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "a child ended: %s\n", e.what());
    ::_exit(8);
  }
}

void end(pid_t pid) {
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::size_t size_of(u64 who, u64 number) {
  const u64 dice = (number * 2654435761u + who) >> 3;
  return dice % 16 != 0 ? small_item + dice % 200 : 2100 + dice % 20'000;
}

void produce(imported_handle& h, book& b, u64 who) {
  // A number is used once, also when the last incarnation died before its put returned.
  for (u64 n = b.of[who].began; n < max_items; ++n) {
    b.of[who].began = n + 1;
    if (put_item(*h.channel, h.as, who << 32 | n, size_of(who, n), never) != op_status::ok) ::_exit(1);
    b.put[who][n] = 1;
    b.of[who].returned += 1;
  }
  for (;;) ::pause();
}

void consume(imported_handle& h, book& b) {
  std::vector<seen> got;
  for (;;) {
    got.clear();
    if (get_items(*h.channel, h.as, got, never) != op_status::ok) ::_exit(1);
    for (const seen& s : got) {
      const u64 who = s.id >> 32, n = s.id & 0xffffffff;
      if (!s.whole || who >= producers || n >= max_items || s.size != size_of(who, n))
        ++b.damaged;
      else
        ++b.got[who][n];
    }
    b.gets += got.size();
  }
}

struct figures {
  u64 kills = 0, stops = 0, items = 0, lost = 0, twice = 0, again = 0, reported = 0, damaged = 0, hung = 0;
};

void queue_round(mp::on_death on_death, u64 kills, dice& d, figures& f) {
  shared_object<book> shared;
  book& b = *shared.at;
  const auto c = make(channel_kind::queue, on_death, false, 256);
  c->add_role(role::whole);
  std::vector<pid_t> who(producers + consumers);
  const auto start = [&](u64 i) {
    if (i < producers)
      who[i] = child(send_off(*c, role::sender), [&, i](imported_handle& h) { produce(h, b, i); });
    else
      who[i] = child(send_off(*c, role::receiver), [&](imported_handle& h) { consume(h, b); });
  };
  for (u64 i = 0; i < who.size(); ++i) start(i);
  std::vector<seen> reported;
  const auto collect = [&] {
    for (const seen& s : lost_items(*c)) {
      reported.push_back(s);
      f.damaged += !s.whole;
    }
  };
  // No progress for long, although somebody is there for everything: hung.
  const auto moves = [&](auto&& done) {
    u64 seen_gets = b.gets;
    for (auto last = std::chrono::steady_clock::now(); !done();) {
      let_pass(std::chrono::milliseconds(1));
      const u64 now = b.gets;
      if (std::exchange(seen_gets, now) != now)
        last = std::chrono::steady_clock::now();
      else if (std::chrono::steady_clock::now() - last > patience)
        return false;
    }
    return true;
  };
  u64 dead_consumers = 0;
  for (u64 k = 0; k < kills; ++k) {
    d.pause();
    const u64 victim = d.below(who.size());
    if (d.below(8) == 0) {
      // Stopped for a while, perhaps with a lock: the others wait or go on, and nobody takes anything from it.
      ::kill(who[victim], SIGSTOP);
      d.pause();
      ::kill(who[victim], SIGCONT);
      ++f.stops;
    }
    end(who[victim]);
    ++f.kills;
    dead_consumers += victim >= producers;
    start(victim);
    if (k % 32 == 31) collect();
    if (k % 128 == 127) {
      const u64 before = b.gets;
      f.hung += !moves([&] { return b.gets != before || b.of[0].began >= max_items; });
    }
  }
  for (u64 i = 0; i < producers; ++i) end(who[i]);
  f.hung += !moves([&] { return c->size() == 0; });
  // What the last get of each consumer has in hand is got, and reported.
  let_pass(std::chrono::milliseconds(50));
  for (u64 i = producers; i < who.size(); ++i) end(who[i]);
  collect();
  if (on_death == mp::on_death::redeliver) {
    std::vector<seen> rest;
    while (get_items(*c, role::whole, rest, at_once) == op_status::ok) {
    }
    for (const seen& s : rest) ++b.got[s.id >> 32][s.id & 0xffffffff];
  }
  std::vector<u64> told;
  for (const seen& s : reported) told.push_back(s.id);
  std::sort(told.begin(), told.end());
  f.reported += told.size();
  f.twice += static_cast<u64>(told.end() - std::unique(told.begin(), told.end()));
  u64 again = 0;
  for (u64 p = 0; p < producers; ++p) {
    for (u64 n = 0; n < b.of[p].began; ++n) {
      const unsigned got = b.got[p][n];
      const bool was_told = std::binary_search(told.begin(), told.end(), p << 32 | n);
      if (b.put[p][n] && got == 0 && !was_told) ++f.lost;
      if (got > 1) again += got - 1;
    }
    f.items += b.of[p].returned;
  }
  if (on_death == mp::on_death::report)
    f.twice += again;
  else
    f.again += again, f.twice += again > dead_consumers + consumers ? again - dead_consumers - consumers : 0;
  f.damaged += b.damaged;
}

// One end of a pipe is killed; the other one learns of it, after the last whole message.
void pipe_round(dice& d, figures& f) {
  struct notes {
    std::atomic<u64> began, returned, got, damaged, reader_status, writer_status;
  };
  shared_object<notes> shared;
  notes& b = *shared.at;
  const auto c = make(channel_kind::pipe);
  c->add_role(role::sender);
  c->add_role(role::receiver);
  travelling out = send_off(*c, role::sender), in_ = send_off(*c, role::receiver);
  c->drop_role(role::sender);
  c->drop_role(role::receiver);
  const int reader_memory = in_.fds[0].get(), reader_socket = in_.fds[1].get();
  const pid_t writer = child(std::move(out), [&](imported_handle& h) {
    ::close(reader_memory);
    ::close(reader_socket);
    op_status s = op_status::ok;
    for (u64 n = 0; s == op_status::ok; ++n) {
      b.began = n + 1;
      s = put_item(*h.channel, h.as, n, size_of(1, n), never);
      if (s == op_status::ok) b.returned = n + 1;
    }
    b.writer_status = static_cast<u64>(s);
  });
  const pid_t reader = child(std::move(in_), [&](imported_handle& h) {
    std::vector<seen> got;
    op_status s;
    while ((s = get_items(*h.channel, h.as, got, never)) == op_status::ok) {
      b.damaged += !got[0].whole || got[0].id != b.got || got[0].size != size_of(1, got[0].id);
      b.got += 1;
      got.clear();
    }
    b.reader_status = static_cast<u64>(s);
  });
  d.pause();
  const bool kill_writer = d.below(2) == 0;
  end(kill_writer ? writer : reader);
  ++f.kills;
  // The other one ends by itself.
  const auto until = in(std::chrono::duration_cast<std::chrono::milliseconds>(patience));
  const pid_t other = kill_writer ? reader : writer;
  int status = 0;
  while (::waitpid(other, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > until) {
      ++f.hung;
      end(other);
      return;
    }
    let_pass(std::chrono::microseconds(100));
  }
  f.items += b.returned;
  f.damaged += b.damaged;
  const u64 said = kill_writer ? b.reader_status : b.writer_status;
  if (said != static_cast<u64>(op_status::peer_died)) ++f.hung;
  if (kill_writer) {
    if (b.got < b.returned) f.lost += b.returned - b.got;
    if (b.got > b.began) f.twice += b.got - b.began;
  }
}

void print(const char* what, const figures& f) {
  std::printf(
      "figure: kill loop: %s: %lu kills, %lu stops, %lu items: %lu lost, %lu twice, %lu damaged, %lu hung; %lu "
      "reported, %lu came again\n",
      what, f.kills, f.stops, f.items, f.lost, f.twice, f.damaged, f.hung, f.reported, f.again);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const char* given = std::getenv("MP_TEST_SEED");
  const u64 seed = given ? std::strtoull(given, nullptr, 0)
                         : static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch().count());
  std::printf("figure: kill loop: seed %lu\n", seed);
  dice d{std::mt19937_64(seed)};
  tally all{"kill loop"};
  const auto judge = [&](const char* what, const figures& f) {
    print(what, f);
    all.check(f.lost == 0, std::string(what) + ": nothing is lost");
    all.check(f.twice == 0, std::string(what) + ": nothing comes twice");
    all.check(f.damaged == 0, std::string(what) + ": nothing is damaged");
    all.check(f.hung == 0, std::string(what) + ": nobody hangs");
    all.check(f.items > 0, std::string(what) + ": something was put");
  };
  const u64 rounds = long_form() ? 50 : 1, kills = long_form() ? 1000 : 400;
  figures report, redeliver, pipes;
  for (u64 i = 0; i < rounds; ++i) queue_round(mp::on_death::report, kills, d, report);
  judge("queue, reported", report);
  for (u64 i = 0; i < rounds; ++i) queue_round(mp::on_death::redeliver, kills, d, redeliver);
  judge("queue, redelivered", redeliver);
  for (u64 i = 0; i < (long_form() ? 20'000u : 200u); ++i) pipe_round(d, pipes);
  judge("pipe", pipes);
  return all.finish();
}
