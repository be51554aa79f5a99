// Workers that are killed from outside, again and again and in every state of their pool: who ran what is in a book that
// all of them write and only the test reads.

#include "mp/unique_fd.hpp"
#include "pool_tasks.hpp"
#include "support/figures.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <algorithm>
#include <atomic>
#include <barrier>
#include <new>
#include <optional>
#include <set>
#include <utility>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

constexpr int most = 1 << 16;
/// How often each number was begun and ended, by whomever; and who is killed by whom.
struct book {
  std::atomic<std::uint32_t> begun[most], ended[most];
  std::atomic<std::uint32_t> tasks, workers, each;  // every so many tasks one of these workers is killed; 0: none
  std::atomic<pid_t> last[4];
};

book* opened = nullptr;
void map_book(const mp::unique_fd& file) {
  void* const page = ::mmap(nullptr, sizeof(book), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (page == MAP_FAILED) throw std::bad_alloc();
  opened = static_cast<book*>(page);  // zero is the beginning of everything in it
}
/// The initializer of a worker.
void sign_book(const mp::unique_fd& file) {
  map_book(file);
  opened->last[opened->workers++ % 4] = ::getpid();
}
/// Short enough that several wait in front of a worker, long enough to be met.
int work(int x) {
  for (int i = 0; i < 200000; ++i) asm volatile("");
  return x;
}
/// Kills itself, its neighbour, one that starts, or one that is dead already, when it is its turn.
int note_down(int x) {
  ++opened->begun[x];
  const std::uint32_t task = ++opened->tasks, each = opened->each;
  if (each != 0 && task % each == 0)
    if (const pid_t victim = opened->last[task / each * 7 % 4]) ::kill(victim, SIGKILL);
  work(x);
  ++opened->ended[x];
  return 3 * x;
}

class shared_book {
public:
  shared_book() : file_(::memfd_create("test-book", MFD_CLOEXEC)) {
    REQUIRE(file_.get() >= 0);
    REQUIRE(::ftruncate(file_.get(), sizeof(book)) == 0);
    map_book(file_);
  }
  shared_book(const shared_book&) = delete;
  shared_book& operator=(const shared_book&) = delete;
  ~shared_book() { ::munmap(std::exchange(opened, nullptr), sizeof(book)); }

  std::uint32_t begun(int x) const { return opened->begun[x]; }
  std::uint32_t ended(int x) const { return opened->ended[x]; }
  void kill_each(std::uint32_t tasks) const { opened->each = tasks; }
  /// For a pool's initializer.
  mp::task signs() const { return mp::task(sign_book, mp::unique_fd(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0))); }

private:
  mp::unique_fd file_;
};

constexpr mp::restart_limits for_ever{.intensity = 1'000'000, .back_off = {.first = 1ms, .most = 10ms}};
constexpr mp::retry until_it_is_done{.attempts = 60'000, .back_off = {.first = 1ms, .most = 10ms}, .idempotent = true};

std::string deaths_text(const mp::pool& p) { return std::to_string(p.stats().worker_deaths) + " deaths"; }

}  // namespace

TEST_CASE("pool: a kill loop: every item has its answer exactly once", "[pool][kills]") {
  const fd_ledger ledger;
  {
    const shared_book ran;
    ran.kill_each(40);
    const int many = rounds(10'000, most), in_one = 1000;
    mp::pool p({.workers = 2, .initializer = ran.signs(), .restart = for_ever});
    std::set<int> seen;
    std::uint64_t lost = 0;
    int wrong = 0;
    for (int first = 0; first + in_one <= many; first += in_one) {
      std::vector<int> in = numbers(in_one);
      for (int& i : in) i += first;
      for (auto& o : p.outcomes(note_down, in, {.chunk = first / in_one % 10 * 20})) {
        const int i = first + static_cast<int>(o.index);
        wrong += !seen.insert(i).second;
        if (o)
          wrong += *o != 3 * i || ran.ended(i) != 1;
        else
          ++lost, wrong += o.code() != mp::errc::worker_died;
      }
    }
    CHECK(seen.size() == static_cast<std::size_t>(many / in_one * in_one));
    CHECK(wrong == 0);
    int twice = 0;
    for (const int i : seen) twice += ran.begun(i) > 1;
    CHECK(twice == 0);
    CHECK(lost <= p.stats().worker_deaths);
    figure("kill loop of outcomes: " + deaths_text(p) + ", " + std::to_string(lost) + " of " +
           std::to_string(seen.size()) + " items lost");
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a kill loop: every future has its answer exactly once, and no task ran twice", "[pool][kills]") {
  const fd_ledger ledger;
  {
    const shared_book ran;
    ran.kill_each(40);
    const int many = rounds(4000, most);
    std::vector<std::atomic<int>> heard(static_cast<std::size_t>(many));  // by a callback: how often
    std::atomic<int> answers{0}, wrong{0}, lost_callbacks{0};
    int delivered = 0, lost = 0;
    mp::pool p({.workers = 2, .initializer = ran.signs(), .restart = for_ever});
    std::vector<std::pair<int, mp::future<int>>> taken;
    for (int i = 0; i < many; ++i) {
      auto f = p.submit(note_down, i);
      if (i % 2 == 0) {
        taken.emplace_back(i, std::move(f));
        continue;
      }
      std::move(f).async_get([&, i](std::exception_ptr problem, int v) {
        ++heard[static_cast<std::size_t>(i)];
        if (!problem)
          wrong += v != 3 * i || ran.ended(i) != 1;
        else
          ++lost_callbacks, wrong += errc_of([&] { std::rethrow_exception(problem); }) != mp::errc::worker_died;
        ++answers;
      });
    }
    for (auto& one : taken) {
      const int i = one.first;
      auto& f = one.second;
      REQUIRE(f.wait_for(long_patience));
      const auto problem = errc_of([&] {
        const int v = f.get();
        ++delivered;
        wrong += v != 3 * i || ran.ended(i) != 1;
      });
      lost += problem == mp::errc::worker_died;
      wrong += problem && problem != mp::errc::worker_died;
      CHECK_FALSE(f.valid());
    }
    REQUIRE(eventually([&] { return answers == many / 2; }, long_patience));
    CHECK(wrong == 0);
    CHECK(delivered + lost == (many + 1) / 2);
    int twice = 0, unheard = 0;
    for (int i = 0; i < many; ++i) {
      twice += ran.begun(i) > 1;
      unheard += heard[static_cast<std::size_t>(i)] != i % 2;
    }
    CHECK(twice == 0);
    CHECK(unheard == 0);
    const auto s = p.stats();
    CHECK(s.done + s.failed == static_cast<std::uint64_t>(many));
    CHECK(s.failed == static_cast<std::uint64_t>(lost + lost_callbacks));
    CHECK(s.failed <= s.worker_deaths);
    CHECK(s.retried == 0);
    figure("kill loop of futures: " + deaths_text(p) + ", " + std::to_string(s.failed) + " of " + std::to_string(many) +
           " lost");
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a kill loop: a map whose items may run again gives all answers, others theirs or one error",
          "[pool][kills]") {
  const fd_ledger ledger;
  {
    const shared_book ran;
    ran.kill_each(40);
    const int many = 600, all = rounds(5, 60);
    mp::pool p({.workers = 2, .initializer = ran.signs(), .restart = for_ever});
    std::vector<int> expected;
    for (const int i : numbers(many)) expected.push_back(3 * i);
    std::uint64_t whole = 0, broken = 0;
    for (int round = 0; round < all; ++round) {
      CAPTURE(round);
      const std::ptrdiff_t chunk = round % 3 == 0 ? 0 : 1 + round * 20;
      const mp::map_options again{.chunk = chunk, .retry = until_it_is_done};
      CHECK(p.map(note_down, numbers(many), again) == expected);
      CHECK(p.map_async(note_down, numbers(many), again).get() == expected);
      std::vector<int> lazily;
      for (const int v : p.imap(note_down, numbers(many), again)) lazily.push_back(v);
      CHECK(lazily == expected);
      // At most once: all of it, or the death of a worker.
      try {
        const auto answers = p.map(note_down, numbers(many), {.chunk = chunk});
        CHECK(answers == expected);
        ++whole;
      } catch (const mp::worker_died& e) {
        CHECK(e.code() == mp::errc::worker_died);
        ++broken;
      }
    }
    int missing = 0;
    for (const int i : numbers(many)) missing += ran.ended(i) < static_cast<std::uint32_t>(3 * all);
    CHECK(missing == 0);
    figure("kill loop of maps: " + deaths_text(p) + ", " + std::to_string(p.stats().retried) +
           " items run again; of those that may not, " + std::to_string(whole) + " maps whole and " +
           std::to_string(broken) + " not");
  }
  CHECK_CLEAN(ledger);
}

namespace {

enum class state { close_and_join, terminate, drain, fewer, more, destroy, move_over };
constexpr state states[] = {state::close_and_join, state::terminate, state::drain,    state::fewer,
                            state::more,           state::destroy,   state::move_over};
enum class moment { before, meanwhile, after };

/// Brings a pool into a state, which may be its end.
void bring(std::optional<mp::pool>& p, state into) {
  switch (into) {
    case state::close_and_join:
      p->close();
      CHECK(p->join_for(patience));
      break;
    case state::terminate:
      p->terminate();
      CHECK(p->join_for(patience));
      break;
    case state::drain: static_cast<void>(p->drain(patience)); break;
    case state::fewer: p->resize(1); break;
    case state::more: p->resize(4); break;
    case state::destroy: p.reset(); break;
    case state::move_over: *p = mp::pool(1); break;
  }
}

}  // namespace

TEST_CASE("pool: its workers are killed before, while and after it is closed, drained, resized or destroyed; all ends",
          "[pool][kills]") {
  const fd_ledger ledger;
  int answered = 0, lost = 0, cancelled = 0;
  for (const state into : states)
    for (const moment when : {moment::before, moment::meanwhile, moment::after})
      for (const bool busy : {true, false})
        for (int round = 0; round < rounds(3, 60); ++round) {
          CAPTURE(static_cast<int>(into), static_cast<int>(when), busy, round);
          std::vector<mp::future<int>> all;
          {
            std::optional<mp::pool> p(std::in_place, mp::pool_options{.workers = 2, .restart = for_ever});
            for (int i = 0; busy && i < 40; ++i) all.push_back(p->submit(work, i));
            // Somebody who ends by force only, unless he is killed.
            if (busy && round % 2 == 0) all.push_back(p->submit({.deadline = 20ms}, spin, 0));
            const auto workers = p->stats().workers;
            const auto kill_all = [&workers] {
              for (const auto& w : workers) ::kill(w.pid, SIGKILL);
            };
            if (when == moment::before) kill_all();
            if (when == moment::meanwhile) {
              std::barrier both(2);
              const std::jthread kills([&] {
                both.arrive_and_wait();
                for (int i = 0; i < 100000 * (round % 3); ++i) asm volatile("");
                kill_all();
              });
              both.arrive_and_wait();
              bring(p, into);
            } else {
              bring(p, into);
            }
            if (when == moment::after && p) {  // those that there are now
              for (const auto& w : p->stats().workers) ::kill(w.pid, SIGKILL);
            }
            if (into == state::fewer || into == state::more || into == state::move_over) {
              CHECK(p->apply({.retry = until_it_is_done}, cube, 3) == 27);
              p->close();
              CHECK(p->join_for(patience));
            }
          }
          for (auto& f : all) {
            REQUIRE(f.ready());
            const auto problem = errc_of([&] { f.get(); });
            answered += !problem;
            lost += problem == mp::errc::worker_died || problem == mp::errc::deadline_exceeded;
            cancelled += problem == mp::errc::cancelled;
          }
        }
  figure("killed in " + std::to_string(3 * std::size(states)) + " states: " + std::to_string(answered) + " answered, " +
         std::to_string(lost) + " lost, " + std::to_string(cancelled) + " cancelled");
  CHECK(answered > 0);
  CHECK(lost > 0);
  CHECK(cancelled > 0);
  CHECK_CLEAN(ledger);
}
