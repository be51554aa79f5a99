#pragma once
// A ring of 64-byte slots in shared memory, one producer, one consumer: the cheapest way to move a message.
// It must do nothing that a channel needs besides (presence, death, sizes, types): it is the limit, not a peer.
//
// With `Sleeps` a side that waits too long sleeps on a futex, and the sleeper pays for it: it runs membarrier between
// "I am going to sleep" and its last look, so publishing needs no fence. Without, both sides spin.

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "bench.hpp"

namespace bench {

inline void join_membarrier() {
  check(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0, "membarrier");
}

/// Where one side sleeps. The waker takes the flag by exchange and then moves the event count, the word that is slept
/// on: a flag that is cleared late cannot swallow a newer sleep.
struct alignas(128) bedroom {
  std::atomic<std::uint32_t> asleep{0};
  std::atomic<std::uint32_t> event{0};

  template <class Ready>
  void wait(Ready ready, int spins) {
    for (int i = 0; !ready(); ++i) {
      if (i < spins) {
        pause_cpu();
        continue;
      }
      const auto seen = event.load();
      asleep.store(1);
      syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
      if (ready()) {
        asleep.store(0);
        return;
      }
      syscall(SYS_futex, &event, FUTEX_WAIT, seen, nullptr, nullptr, 0);
      i = 0;
    }
  }
  void wake_if_asleep() {
    asm volatile("" ::: "memory");  // the fence is the sleeper's membarrier
    if (asleep.load(std::memory_order_relaxed) == 0 || asleep.exchange(0) == 0) return;
    event.fetch_add(1);
    syscall(SYS_futex, &event, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
};

template <bool Sleeps, std::size_t Slots = 1024>
class spsc_ring {
public:
  /// Lets f write the message where it lies.
  template <class F>
  void put(F&& f) {
    const auto at = head_.load(std::memory_order_relaxed);
    const auto room = [&] {
      if (at - tail_seen_ < Slots) return true;
      tail_seen_ = tail_.load(std::memory_order_acquire);
      return at - tail_seen_ < Slots;
    };
    wait(room, producer_);
    f(slots_[at % Slots]);
    head_.store(at + 1, std::memory_order_release);
    if constexpr (Sleeps) consumer_.wake_if_asleep();
  }
  /// Lets f read the message where it lies.
  template <class F>
  void get(F&& f) {
    const auto at = tail_.load(std::memory_order_relaxed);
    const auto something = [&] {
      if (head_seen_ != at) return true;
      head_seen_ = head_.load(std::memory_order_acquire);
      return head_seen_ != at;
    };
    wait(something, consumer_);
    f(slots_[at % Slots]);
    tail_.store(at + 1, std::memory_order_release);
    // A producer that was stopped by a full ring is woken once half of it is free.
    if constexpr (Sleeps)
      if (head_seen_ - at <= Slots / 2) producer_.wake_if_asleep();
  }

private:
  template <class Ready>
  static void wait(Ready ready, bedroom& b) {
    if constexpr (Sleeps)
      b.wait(ready, 2000);
    else
      while (!ready()) pause_cpu();
  }

  alignas(128) std::atomic<std::uint64_t> head_{0};
  std::uint64_t tail_seen_ = 0;  // the producer's
  alignas(128) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t head_seen_ = 0;  // the consumer's
  bedroom producer_, consumer_;
  alignas(128) std::array<message, Slots> slots_;
};

}  // namespace bench
