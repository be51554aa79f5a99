// Counting what is done with. Every participant counts its own; what the dead had open counts as done.

#include "channel/ring_channel.hpp"
#include "mp/error.hpp"

#include <algorithm>

namespace mp::ring {

// Under the get lock, in front of the commit: got counts only once head is beyond `first`.
void ring_channel::note_got(u64 first, u64 count) noexcept {
  participant& mine = memory_.slot(presence_.self_slot());
  const u32 other = 1 - (mine.got_index.load(std::memory_order_relaxed) & 1);
  const u64 base = got_by(presence_.self_slot());
  if (first == no_sequence)
    mine.got[other].set(base + count, 0, 0);
  else
    mine.got[other].set(base, first, count);
  mine.got_index.store(other, std::memory_order_release);
}

// After taking the get lock from a dead owner, before any commit: what it noted and never took. Left there, it would
// count once another consumer has taken it.
void ring_channel::drop_uncommitted_got() noexcept {
  for (u32 slot = 0, n = shared().participants_used.load(std::memory_order_acquire);
       slot < n && slot < max_participants; ++slot) {
    participant& who = memory_.slot(slot);
    const u32 now = who.got_index.load(std::memory_order_relaxed) & 1;
    if (who.got[now].count == 0 || who.got[now].first < head_sequence()) continue;
    who.got[1 - now].set(who.got[now].base, 0, 0);
    who.got_index.store(1 - now, std::memory_order_release);
  }
}

u64 ring_channel::got_by(u32 slot) const noexcept {
  const participant& who = memory_.slot(slot);
  const participant::got_record& got = who.got[who.got_index.load(std::memory_order_acquire) & 1];
  const u64 base = got.base.load(std::memory_order_relaxed), count = got.count.load(std::memory_order_relaxed);
  return base + (count != 0 && got.first.load(std::memory_order_relaxed) < head_sequence() ? count : 0);
}

// Under the get lock: what this slot's owner got and never finished counts as done; what it has in hand and will be
// redelivered does not.
void ring_channel::settle_slot(u32 slot, identity owner) noexcept {
  if (slot >= max_participants) return;
  participant& who = memory_.slot(slot);
  const u64 again = options_.on_consumer_death == on_death::redeliver ? hands_.count_of(owner) : 0;
  u64 got = got_by(slot) - std::min(again, got_by(slot));
  // Somebody else may have called task_done for it: never more is done than was got.
  const u64 all = head_sequence(), others = all_done() - who.done.load(std::memory_order_relaxed);
  got = std::min(got, all - std::min(all, others));
  if (who.done.load(std::memory_order_relaxed) < got) who.done.store(got, std::memory_order_release);
  const u32 other = 1 - (who.got_index.load(std::memory_order_relaxed) & 1);
  who.got[other].set(who.done.load(std::memory_order_relaxed), 0, 0);
  who.got_index.store(other, std::memory_order_release);
}

void ring_channel::settle_dead(time_point until) {
  control& c = shared();
  for (u32 slot = 0, n = c.participants_used.load(std::memory_order_acquire); slot < n && slot < max_participants;
       ++slot) {
    const participant& who = memory_.slot(slot);
    const identity owner = make_identity(who.epoch.load(std::memory_order_acquire), slot);
    if (got_by(slot) <= who.done.load(std::memory_order_acquire) || !presence_.is_dead(owner)) continue;
    if (!lock_get(until)) return;
    // Whoever took the slot meanwhile has settled it.
    if (presence_.is_last(owner)) settle_slot(slot, owner);
    release(c.get_lock);
  }
}

u64 ring_channel::all_done() const noexcept {
  u64 done = 0;
  for (u32 slot = 0, n = shared().participants_used.load(std::memory_order_acquire);
       slot < n && slot < max_participants; ++slot)
    done += memory_.slot(slot).done.load(std::memory_order_acquire);
  return done;
}

u64 ring_channel::unfinished() const noexcept {
  const control& c = shared();
  const u64 done = all_done();
  const u64 put = extend(count_of(c.tail.load(std::memory_order_acquire)), done);
  return put - std::min(put, done);
}

bool ring_channel::task_done() {
  check_process();
  control& c = shared();
  participant& mine = memory_.slot(presence_.self_slot());
  // Out of the hand first: killed between the two, what the item lacks is settled; the other way round it would come
  // again although it is done.
  clear_hand();
  // The lock makes the look and the count one step. Whoever has it may be stopped: then a count too many may pass.
  const bool locked = lock_get(std::chrono::steady_clock::now() + patience_with_stopped);
  const bool allowed = all_done() < head_sequence();
  if (allowed) mine.done.fetch_add(1, std::memory_order_release);
  if (locked) release(c.get_lock);
  if (allowed && unfinished() == 0) wake_all(c.joiners);
  return allowed;
}

op_status ring_channel::join(time_point until) {
  check_process();
  control& c = shared();
  for (;;) {
    if (unfinished() == 0) return op_status::ok;
    settle_dead(until);
    if (unfinished() == 0) return op_status::ok;
    if (until <= std::chrono::steady_clock::now()) return op_status::timed_out;
    sleep(
        c, c.joiners, 0, [&] { return unfinished() == 0; }, until);
  }
}

}  // namespace mp::ring
