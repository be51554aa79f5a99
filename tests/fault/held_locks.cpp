// A lock of a channel that somebody who lives holds for long: what others see meanwhile. The lock is taken in the name of
// this process, by a second view of the memory.

#include "ring_rig.hpp"

#include "channel/ring_lock.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <thread>

namespace {

using namespace mp_fault;
namespace ring = mp::ring;

tally all{"held locks"};

ring::identity identity_of(const view& memory, u32 slot) {
  return ring::make_identity(memory.slot(slot).epoch.load(), slot);
}

void wait_on_an_empty_queue() {
  const auto c = make(channel_kind::queue);
  c->add_role(role::whole);
  const view memory(*c);
  memory.head().get_lock = identity_of(memory, 0);
  all.check(!c->prepare_poll(role::whole, side::get), "an empty queue is not ready, whoever has its get lock");
  all.check(!c->prepare_poll(role::whole, side::get), "nor is it at the second look");
  put_item(*c, role::whole, 1, small_item, at_once);
  pollfd bell{c->poll_fd(side::get), POLLIN, 0};
  all.check(::poll(&bell, 1, 10'000) == 1, "an item that is put meanwhile rings");
  all.check(c->prepare_poll(role::whole, side::get), "then it is ready");
  ring::release(memory.head().get_lock);
  std::vector<seen> got;
  all.check(get_items(*c, role::whole, got, at_once) == op_status::ok && got[0].id == 1, "the item comes");
}

// The lock is given back as soon as somebody is seen to wait for it.
std::size_t done_of(std::size_t tries, ring::lock_word& lock, ring::identity owner, const std::function<bool()>& act) {
  std::size_t done = 0;
  for (std::size_t i = 0; i < tries; ++i) {
    lock = owner;
    std::thread other([&] {
      while ((lock.load() & ring::has_waiters) == 0) std::this_thread::yield();
      ring::release(lock);
    });
    done += act();
    other.join();
  }
  return done;
}

void tries_wait_for_an_owner_that_runs() {
  const auto c = make(channel_kind::queue);
  c->add_role(role::whole);
  const view memory(*c);
  const ring::identity owner = identity_of(memory, 0);
  constexpr std::size_t tries = 60;
  std::vector<seen> got;
  for (u64 i = 0; i < tries; ++i) put_item(*c, role::whole, i, small_item, at_once);
  const std::size_t gets = done_of(tries, memory.head().get_lock, owner,
                                   [&] { return get_items(*c, role::whole, got, at_once) == op_status::ok; });
  const std::size_t puts = done_of(tries, memory.head().put_lock, owner,
                                   [&] { return put_item(*c, role::whole, 1, small_item, at_once) == op_status::ok; });
  // Not each: the thread that gives the lock back may be kept from the processor for longer than a try waits.
  all.check(gets > tries / 2, "a try_get waits for an owner inside: " + std::to_string(gets));
  all.check(puts > tries / 2, "a try_put waits for an owner inside: " + std::to_string(puts));
  std::printf("figure: of %zu tries at a held lock %zu gets and %zu puts were done\n", tries, gets, puts);
}

void tries_do_not_wait_for_an_owner_that_is_stopped() {
  const auto c = make(channel_kind::queue);
  c->add_role(role::whole);
  put_item(*c, role::whole, 1, small_item, at_once);
  travelling t = send_off(*c, role::whole);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const imported_handle h = arrive(std::move(t));
    put_item(*h.channel, h.as, 2, small_item, at_once);
    for (;;) ::pause();
  }
  t.fds.clear();
  const view memory(*c);
  for (const auto end = in(patience); c->size() < 2 && std::chrono::steady_clock::now() < end;)
    std::this_thread::yield();
  ::kill(pid, SIGSTOP);
  int status = 0;
  ::waitpid(pid, &status, WUNTRACED);
  all.check(WIFSTOPPED(status), "the owner is stopped");
  u32 slot = 0;
  while (slot < ring::max_participants && memory.slot(slot).pid != static_cast<u32>(pid)) ++slot;
  memory.head().get_lock = memory.head().put_lock = identity_of(memory, slot);
  std::vector<seen> got;
  all.check(get_items(*c, role::whole, got, at_once) == op_status::timed_out, "a try_get gives up");
  all.check(put_item(*c, role::whole, 3, small_item, at_once) == op_status::timed_out, "a try_put gives up");
  all.check(get_items(*c, role::whole, got, in(std::chrono::milliseconds(30))) == op_status::timed_out,
            "a get with a limit ends");
  ::kill(pid, SIGKILL);
  ::waitpid(pid, &status, 0);
  all.check(get_items(*c, role::whole, got, in(patience)) == op_status::ok && got[0].id == 1,
            "when the owner has died the lock is taken over");
  all.check(put_item(*c, role::whole, 3, small_item, in(patience)) == op_status::ok, "for puts, too");
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  wait_on_an_empty_queue();
  tries_wait_for_an_owner_that_runs();
  tries_do_not_wait_for_an_owner_that_is_stopped();
  return all.finish();
}
