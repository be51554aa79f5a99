// The word that tells of an end: marked when its holder's end begins, however it comes, and whoever sleeps beside it is
// woken. A sleep here has no slice to save it: where a wake-up is lost, the test hangs and is killed.

#include "mp/detail/robust_futex.hpp"

#include "mp/detail/shared_block.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

using mp::detail::robust_futex;
using mp::detail::robust_futexes;
using mp_test::fact_pipe;
using mp_test::fd_ledger;
using mp_test::forked_child;

namespace {

struct shared {
  mp::detail::shared_bell bell;
  robust_futex lives[40];
  std::atomic<bool> rung;
};
constexpr std::size_t bytes = 64 * 1024;

/// Its memory is zero at first.
class shared_page {
public:
  shared_page() : memory_(mp::detail::shared_block::make("mp:test", bytes)), block_(memory_, 0, bytes) {
    value().bell.join();
  }
  shared& value() const { return *reinterpret_cast<shared*>(block_.data()); }

private:
  const mp::unique_fd memory_;
  const mp::detail::shared_block block_;
};

void await_end_of(shared& s, const robust_futex& f) {
  robust_futexes held;
  held.add(f);
  while (!f.is_let_go())
    s.bell.sleep_beside(
        held, [] { return false; }, mp::time_point::max(), std::chrono::hours(1));
}

// From here on this process's futex_waitv fails, as on an older kernel or under a container's filter.
bool refuse_to_wait_for_several(int problem) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 449, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(problem)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

TEST_CASE("robust_futex: let go when its holder ends, not before", "[robust_futex]") {
  const fd_ledger ledger;
  {
    const shared_page page;
    robust_futex& f = page.value().lives[0];
    CHECK_FALSE(f.is_let_go());  // nobody holds it
    const fact_pipe holds, may_end;
    const forked_child child([&] {
      f.hold();
      holds.tell();
      may_end.hear();
      return 0;
    });
    REQUIRE(holds.hear());
    CHECK_FALSE(f.is_let_go());
    SECTION("killed") { child.kill(SIGKILL); }
    SECTION("by itself") { may_end.tell(); }
    await_end_of(page.value(), f);
    f.reset();
    CHECK_FALSE(f.is_let_go());
    // Another holds it, as the first did.
    std::thread([&] { f.hold(); }).join();
    CHECK(f.is_let_go());
  }
}

TEST_CASE("robust_futex: one that executes another program has let go", "[robust_futex]") {
  const shared_page page;
  robust_futex& f = page.value().lives[0];
  const fact_pipe holds;
  forked_child child([&] {
    f.hold();
    holds.tell();
    ::execl("/bin/sleep", "sleep", "1000", nullptr);
    return 1;
  });
  REQUIRE(holds.hear());
  await_end_of(page.value(), f);
  child.kill(SIGKILL);
  CHECK(child.wait() == SIGKILL);
}

TEST_CASE("robust_futex: no end is missed by who goes to sleep beside it", "[robust_futex]") {
  const fd_ledger ledger;
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    const shared_page page;
    shared& s = page.value();
    const fact_pipe holds;
    forked_child child([&] {
      s.lives[0].hold();
      holds.tell();
      // Sooner or later than whoever sleeps has gone to sleep.
      for (int i = 0; i < round * 200; ++i) asm volatile("");
      ::raise(SIGKILL);
      return 0;
    });
    REQUIRE(holds.hear());
    await_end_of(s, s.lives[0]);
    REQUIRE(child.wait() == SIGKILL);
  }
}

TEST_CASE("robust_futex: beside many, the bell and every end that fits are heard", "[robust_futex]") {
  const shared_page page;
  shared& s = page.value();
  const fact_pipe hold;
  std::vector<std::unique_ptr<forked_child>> children;
  robust_futexes held;
  for (robust_futex& f : s.lives) {
    children.push_back(std::make_unique<forked_child>([&] {
      f.hold();
      hold.tell();
      for (;;) ::pause();
      return 0;
    }));
    REQUIRE(hold.hear());
    held.add(f);
  }
  CHECK(held.span().size() == 31);
  CHECK_FALSE(held.any_let_go());
  std::atomic<bool> rung{false};
  std::thread ringer([&] {
    rung.store(true);
    s.bell.ring();
  });
  while (!rung.load())
    s.bell.sleep_beside(
        held, [&] { return rung.load(); }, mp::time_point::max(), std::chrono::hours(1));
  ringer.join();
  CHECK_FALSE(held.any_let_go());
  children[30]->kill(SIGKILL);
  while (!held.any_let_go())
    s.bell.sleep_beside(
        held, [] { return false; }, mp::time_point::max(), std::chrono::hours(1));
  CHECK(s.lives[30].is_let_go());
  // With one that has let go there is no sleep.
  s.bell.sleep_beside(
      held, [] { return false; }, mp::time_point::max(), std::chrono::hours(1));
  CHECK_FALSE(s.lives[29].is_let_go());
}

TEST_CASE("robust_futex: where there is no sleep on several words, the bell wakes all the same", "[robust_futex]") {
  for (const int problem : {ENOSYS, EPERM, EINVAL}) {
    CAPTURE(problem);
    const shared_page page;
    shared& s = page.value();
    const fact_pipe holds;
    forked_child child([&] {
      if (!refuse_to_wait_for_several(problem)) return 77;
      s.lives[0].hold();
      robust_futexes held;
      held.add(s.lives[0]);
      holds.tell();
      while (!s.rung.load())
        s.bell.sleep_beside(
            held, [&] { return s.rung.load(); }, mp::time_point::max(), std::chrono::hours(1));
      return 0;
    });
    if (!holds.hear()) {
      CHECK(child.wait() == 77 << 8);
      WARN("skipped: no seccomp here");
      return;
    }
    s.rung.store(true);
    s.bell.ring();
    CHECK(child.wait() == 0);
    CHECK(s.lives[0].is_let_go());
  }
}
