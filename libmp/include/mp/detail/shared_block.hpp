#pragma once
/// @file
/// Plain memory that processes of the library share, and a place in it where one side sleeps until another rings.
/// Not for users, but for upper floors that keep small tables beside their channels.
///
/// Shape:    a memfd of final size without a name; pages are there once they were touched. A bell is two words: the one
///           that sleeps pays the barrier, the one that rings pays two loads.
/// Threads:  see each class.         Processes: shareable, by its descriptor.
/// Death:    nothing in here is owned; a ring that is lost with its process costs its sleeper one slice of 20 ms.
/// Source:   doc/decisions/0006-channels.md, doc/decisions/0009-pools.md.

#include "mp/detail/robust_futex.hpp"
#include "mp/duration.hpp"
#include "mp/unique_fd.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mp::detail {

/// A mapping of a part of shared memory.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class shared_block {
public:
  shared_block() noexcept = default;
  shared_block(shared_block&& other) noexcept;
  shared_block& operator=(shared_block&& other) noexcept;
  ~shared_block();

  /// New memory of `bytes`, all zero. Throws: error{out_of_resources}.
  static unique_fd make(const char* label, std::size_t bytes);
  /// Maps `bytes` from `offset` (both whole pages), whose pages are reserved first. Throws: error{out_of_resources},
  /// error{bad_frame}: this is no such memory.
  shared_block(const unique_fd& memory, std::size_t offset, std::size_t bytes);
  /// Gives pages back; their content becomes zero.
  static void release(const unique_fd& memory, std::size_t offset, std::size_t bytes) noexcept;

  std::byte* data() const noexcept { return data_; }

private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// One side sleeps here, any number ring. Zero is its first state.
///
/// Threads:  thread-safe.   Processes: shareable: lies in a shared_block.
class alignas(64) shared_bell {
public:
  /// After what was announced is stored. Two loads, if nobody sleeps.
  void ring() noexcept {
    if (fence_needed_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      std::atomic_thread_fence(std::memory_order_seq_cst);
    else
      std::atomic_signal_fence(std::memory_order_seq_cst);  // pairs with the sleeper's barrier on all processors
    if (asleep_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      wake();
  }
  /// Sleeps until a ring, `until`, or a slice is over, unless `ready()` after it was announced. Spurious returns happen.
  template <class Ready>
  void sleep(Ready&& ready, time_point until, std::chrono::nanoseconds slice = std::chrono::milliseconds(20)) noexcept {
    const std::uint32_t event = announce();
    if (!static_cast<Ready&&>(ready)()) wait(event, until, slice);
  }
  /// As sleep(); the end of one of `held`, which `ready()` may fill, is a ring, too.
  template <class Ready>
  void sleep_beside(const robust_futexes& held, Ready&& ready, time_point until,
                    std::chrono::nanoseconds slice = std::chrono::milliseconds(20)) noexcept {
    const std::uint32_t event = announce();
    if (!static_cast<Ready&&>(ready)()) wait_beside(held, event, until, slice);
  }
  /// Before the first sleep or ring of this process.
  void join() noexcept;
  /// Rings whether or not somebody sleeps.
  void wake() noexcept;

private:
  std::uint32_t announce() noexcept;
  void wait(std::uint32_t event, time_point until, std::chrono::nanoseconds slice) noexcept;
  void wait_beside(const robust_futexes& held, std::uint32_t event, time_point until,
                   std::chrono::nanoseconds slice) noexcept;

  std::atomic<std::uint32_t> asleep_, event_, fence_needed_;
};

/// Spins until `ready()` for about one wake-up's length. True: it is.
template <class Ready>
bool spin_for_wake_up(Ready&& ready, time_point until) noexcept;
/// How long that is; zero: never. One turn of a spinning loop; and one that lets others run.
std::chrono::nanoseconds spin_length() noexcept;
void spin_turn() noexcept;
void spin_yield() noexcept;

template <class Ready>
bool spin_for_wake_up(Ready&& ready, time_point until) noexcept {
  const auto length = spin_length();
  if (length.count() == 0) return ready();
  auto end = std::chrono::steady_clock::now() + length;
  if (end > until) end = until;
  for (;;) {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      spin_turn();
    }
    spin_yield();
    if (std::chrono::steady_clock::now() >= end) return ready();
  }
}

}  // namespace mp::detail
