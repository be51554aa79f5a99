#pragma once
/// @file
/// A lock whose owner may be killed. One futex word {waiters: 1 bit, identity: 31 bits}; whoever waits for a slice of
/// 20 ms asks whether the owner is dead and takes the word from it.
///
/// Model:    a robust mutex without its list: nothing of it lies in the owner's address space.
/// Threads:  thread-safe, not recursive.   Processes: lies in shared memory.
/// Source:   doc/decisions/0006-channels.md; MEASURED W8: as fast as a plain futex lock.

#include "channel/ring_presence.hpp"

#include <chrono>

namespace mp::ring {

inline constexpr u32 has_waiters = 1u << 31;

enum class lock_result : unsigned char { locked, taken_over, timed_out };

/// How long a try waits for a lock: its owner is inside for microseconds, but may have lost the processor there. One that
/// is stopped is not waited for longer than the first, nor is an async operation, which is tried again.
inline constexpr std::chrono::milliseconds try_patience{1}, try_patience_if_running{20};

/// taken_over: the last owner died inside; what it was doing is not committed, derived lists must be made anew.
lock_result acquire_slow(lock_word& word, const presence& who, time_point until) noexcept;

inline lock_result acquire(lock_word& word, const presence& who, time_point until = time_point::max()) noexcept {
  u32 free = 0;
  if (word.compare_exchange_strong(free, who.self(), std::memory_order_acquire, std::memory_order_relaxed))
    return lock_result::locked;
  return acquire_slow(word, who, until);
}

inline bool try_acquire(lock_word& word, const presence& who) noexcept {
  u32 free = 0;
  return word.compare_exchange_strong(free, who.self(), std::memory_order_acquire, std::memory_order_relaxed);
}

inline void release(lock_word& word) noexcept {
  // An exchange is a full barrier on x86 and a release here: everything stored inside is visible before the word is
  // free.
  if (word.exchange(0, std::memory_order_seq_cst) & has_waiters) os::futex_wake(word, 1);
}

/// Releases on every way out, unless told not to.
struct release_on_exit {
  lock_word* word;
  ~release_on_exit() {
    if (word) release(*word);
  }
};

}  // namespace mp::ring
