// The slow path: spin a little, sleep in slices, prove the owner dead. Must never wait on a dead owner longer than a
// slice.

#include "channel/ring_lock.hpp"

#include "channel/io_thread.hpp"

#include <algorithm>

namespace mp::ring {

lock_result acquire_slow(lock_word& word, const presence& who, time_point until) noexcept {
  // 100 turns are a few microseconds: the length of a put. Longer spinning would only burn what the owner needs.
  for (int i = 0; i < 100; ++i) {
    u32 seen = word.load(std::memory_order_relaxed);
    if (seen == 0 && word.compare_exchange_weak(seen, who.self(), std::memory_order_acquire, std::memory_order_relaxed))
      return lock_result::locked;
    os::relax();
  }
  const auto begin = std::chrono::steady_clock::now();
  const bool is_patient = !detail::current_operation();
  const time_point wait_at_least = is_patient ? std::max(until, begin + try_patience) : until;
  const time_point wait_if_running = is_patient ? std::max(until, begin + try_patience_if_running) : until;
  time_point limit = wait_at_least;
  for (;;) {
    u32 seen = word.load(std::memory_order_relaxed);
    if (seen == 0) {
      // Others may sleep: keep the bit, at worst one wake-up goes to nobody.
      if (word.compare_exchange_weak(seen, who.self() | has_waiters, std::memory_order_acquire,
                                     std::memory_order_relaxed))
        return lock_result::locked;
      continue;
    }
    const u32 marked = seen | has_waiters;
    if (seen != marked && !word.compare_exchange_weak(seen, marked, std::memory_order_relaxed)) continue;
    os::futex_wait(word, marked, limit);
    if (word.load(std::memory_order_relaxed) == marked) {
      // The same owner for a whole slice, or time is up. The CAS makes the thief the only one.
      u32 expected = marked;
      if (who.is_dead(marked & ~has_waiters) &&
          word.compare_exchange_strong(expected, who.self() | has_waiters, std::memory_order_acquire,
                                       std::memory_order_relaxed))
        return lock_result::taken_over;
      const auto now = std::chrono::steady_clock::now();
      if (now >= wait_if_running || (now >= wait_at_least && who.is_stopped(marked & ~has_waiters)))
        return lock_result::timed_out;
      if (now >= wait_at_least) limit = wait_if_running;
    }
  }
}

}  // namespace mp::ring
