#pragma once
/// @file
/// Sleeping on a word in shared memory, and the barrier that the sleeper pays for.
///
/// Shape:    32-bit words; deadlines on CLOCK_MONOTONIC; every sleep is a slice, so that nothing waits on a dead waker.
/// Source:   futex(2), membarrier(2); MEASURED 2.3: a fence per message costs 5x.

#include "mp/duration.hpp"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>

namespace mp::os {

using futex_word = std::atomic<std::uint32_t>;
static_assert(sizeof(futex_word) == 4 && futex_word::is_always_lock_free);

/// No sleep is longer than this before its predicate is looked at again: a waker may have been killed.
inline constexpr std::chrono::milliseconds sleep_slice{20};

/// Sleeps while `word == seen`, at most until `until` (monotonic, absolute) and at most one slice. Spurious returns
/// happen.
inline void futex_wait(const futex_word& word, std::uint32_t seen, time_point until,
                       std::chrono::nanoseconds slice = sleep_slice) noexcept {
  const auto now = std::chrono::steady_clock::now();
  if (until <= now) return;
  std::chrono::nanoseconds left = until == time_point::max() ? slice : std::chrono::nanoseconds(until - now);
  if (left > slice) left = slice;
  // FUTEX_WAIT takes a relative time-out, measured on CLOCK_MONOTONIC.
  const timespec limit{static_cast<time_t>(left.count() / 1'000'000'000),
                       static_cast<long>(left.count() % 1'000'000'000)};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

/// Wakes at most `count` sleepers.
inline void futex_wake(const futex_word& word, int count = 1) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

/// One of several words to sleep on, as the system call takes it.
struct futex_awaited {
  std::uint64_t seen, address;
  std::uint32_t flags = 2;  // 32 bits, shared
  std::uint32_t reserved = 0;

  futex_awaited() noexcept = default;
  futex_awaited(const futex_word& word, std::uint32_t value) noexcept
      : seen(value), address(reinterpret_cast<std::uintptr_t>(&word)) {}
};

/// Sleeps while each word is as it was seen; else as futex_wait. False: this kernel (before 5.16), or a filter of system
/// calls, has no such sleep.
bool futex_wait_any(std::span<const futex_awaited> words, time_point until,
                    std::chrono::nanoseconds slice = sleep_slice) noexcept;

/// Registers this process for `heavy_barrier` of others; false where the kernel has no membarrier (or refuses it):
/// then every light_barrier of the channel must be a full fence.
bool register_heavy_barrier() noexcept;

/// Runs a full memory barrier on every thread of every registered process that is running now. Pairs with a compiler
/// barrier on their side. Only called before going to sleep.
inline void heavy_barrier() noexcept { ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0); }

/// One turn of a spinning loop.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

/// Asks for the line at `p` to be ours alone when it is written soon. Any address; nothing depends on it.
inline void fetch_to_write(const std::byte* p) noexcept {
#if defined(__x86_64__) || defined(__i386__)
  // For a processor in general the compiler would only ask for a copy to read: the store would wait all the same.
  // Processors without this instruction take it for none.
  asm volatile("prefetchw %0" ::"m"(*p));
#else
  __builtin_prefetch(p, 1);
#endif
}

}  // namespace mp::os
