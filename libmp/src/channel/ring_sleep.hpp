#pragma once
/// @file
/// Waiting and waking on one side of a ring channel: spin for about one wake-up's length, then sleep on a futex. The
/// side that goes to sleep pays a membarrier, so that the side that puts (or gets) pays no fence.
///
/// Source:   MEASURED 2.1 (a wake-up costs 25 us), 2.3 (a fence per message costs 5x), 5 (lost wake-ups).

#include "channel/ring_layout.hpp"

#include <chrono>

namespace mp::ring {

/// How long a waiter spins: about one wake-up (25 us), or LIBMP_SPIN_US from the environment (0: never).
std::chrono::nanoseconds spin_limit() noexcept;
void offer_processor() noexcept;
/// Where we run, as the other side reads it: the processor + 1, and whether we may run nowhere else. Never 0. A hint.
u32 where_we_run() noexcept;
inline constexpr u32 runs_only_there = 1u << 31;
/// Two that share their only processor hand it to each other by a yield, which costs about half of a sleep and a wake-up.
/// So often before this thread sleeps: 0 if LIBMP_SPIN_US is 0, and for a while after a yield that let somebody else run.
int yields_before_sleep() noexcept;
void note_yields(std::chrono::nanoseconds took) noexcept;

/// Orders our commit before our look at the sleepers. Pairs with heavy_barrier() in sleep().
inline void light_barrier(const control& c) noexcept {
  if (c.fence_needed.load(std::memory_order_relaxed)) [[unlikely]]
    std::atomic_thread_fence(std::memory_order_seq_cst);
  else
    asm volatile("" ::: "memory");
}
inline void sleeper_barrier(const control& c) noexcept {
  if (c.fence_needed.load(std::memory_order_relaxed))
    std::atomic_thread_fence(std::memory_order_seq_cst);
  else
    os::heavy_barrier();
}

inline void wake_one(sleepers& side) noexcept {
  if (side.flag.exchange(0, std::memory_order_seq_cst) == 0) return;
  side.event.fetch_add(1, std::memory_order_seq_cst);
  os::futex_wake(side.event, 1);
}
/// For whoever leaves a get (or put) with items (or room) and sleepers left.
inline void wake_next(sleepers& side) noexcept {
  if (side.count.load(std::memory_order_relaxed) == 0 || side.woken.load(std::memory_order_relaxed) != 0) return;
  side.woken.store(1, std::memory_order_relaxed);
  side.event.fetch_add(1, std::memory_order_seq_cst);
  os::futex_wake(side.event, 1);
}
inline void wake_all(sleepers& side) noexcept {
  side.flag.store(0, std::memory_order_seq_cst);
  side.event.fetch_add(1, std::memory_order_seq_cst);
  os::futex_wake(side.event, INT32_MAX);
}

/// Spins until `ready()`, at most spin_limit() and not beyond `until`. `peer_cpu`: where the other side ran last.
/// A peer on our own processor cannot run while we do: then the processor is offered to it at each turn (which also
/// lets the scheduler see two runnable threads and move one).
template <class Ready>
bool spin(Ready&& ready, const std::atomic<u32>& peer_cpu, time_point until) noexcept {
  const auto limit = spin_limit();
  if (limit.count() == 0) {
    if (ready()) return true;
    const u32 here = where_we_run();
    if ((here & runs_only_there) == 0 || peer_cpu.load(std::memory_order_relaxed) != here) return false;
    const int yields = yields_before_sleep();
    if (yields == 0) return false;
    const auto before = std::chrono::steady_clock::now();
    bool is_ready = false;
    for (int i = 0; i < yields && !is_ready; ++i) {
      offer_processor();
      is_ready = ready();
    }
    note_yields(std::chrono::steady_clock::now() - before);
    return is_ready;
  }
  auto end = std::chrono::steady_clock::now() + limit;
  if (end > until) end = until;
  for (;;) {
    if (peer_cpu.load(std::memory_order_relaxed) == where_we_run()) {
      if (ready()) return true;
      offer_processor();
    } else {
      for (int i = 0; i < 16; ++i) {
        if (ready()) return true;
        os::relax();
      }
    }
    if (std::chrono::steady_clock::now() >= end) return ready();
  }
}

/// Sleeps once, for a slice at most, unless `ready()`. Spurious returns happen. `only_peer`: where the one process of
/// the other side runs; 0: there may be several. Two that share one processor and have no other need no barrier between
/// them; should that change in this very moment, a wake-up may be late by a slice.
template <class Ready>
void sleep(const control& c, sleepers& side, u32 only_peer, Ready&& ready, time_point until) noexcept {
  const u32 event = side.event.load(std::memory_order_seq_cst);
  side.count.fetch_add(1, std::memory_order_seq_cst);
  side.flag.store(1, std::memory_order_seq_cst);
  if ((only_peer & runs_only_there) == 0 || only_peer != where_we_run())
    sleeper_barrier(c);  // pairs with light_barrier: either the other side sees the flag, or we see its commit
  if (!ready()) os::futex_wait(side.event, event, until);
  side.woken.store(0, std::memory_order_relaxed);  // whoever was meant: the next wake_next wakes again
  side.count.fetch_sub(1, std::memory_order_seq_cst);
}

}  // namespace mp::ring
