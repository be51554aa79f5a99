#pragma once
// Dmitry Vyukov's bounded many-to-many ring (https://www.1024cores.net/home/lock-free-algorithms/queues/
// bounded-mpmc-queue) over shared memory: the limit of a queue. Waits yield; a process killed inside stops it for ever.

#include "bench.hpp"

namespace bench {

class mpmc_ring {
public:
  mpmc_ring() {
    for (std::size_t i = 0; i < slots; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }
  void put(const message& m) {
    auto& c = claim(put_at_, 0);
    c.body = m;
    c.turn.store(c.turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  message get() {
    auto& c = claim(get_at_, 1);
    const message m = c.body;
    c.turn.store(c.turn.load(std::memory_order_relaxed) + slots - 1, std::memory_order_release);
    return m;
  }

private:
  static constexpr std::size_t slots = 1024;
  struct alignas(128) cell {
    std::atomic<std::uint64_t> turn{0};
    message body;
  };
  /// The next cell, once its turn is position + offset: free to write (0) or written (1).
  cell& claim(std::atomic<std::uint64_t>& position, std::uint64_t offset) {
    for (int misses = 0;;) {
      auto at = position.load(std::memory_order_relaxed);
      auto& c = cells_[at % slots];
      const auto turn = c.turn.load(std::memory_order_acquire);
      if (turn == at + offset) {
        if (position.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) return c;
      } else if (turn < at + offset && ++misses % 64 == 0) {
        sched_yield();
      } else {
        pause_cpu();
      }
    }
  }

  alignas(128) std::atomic<std::uint64_t> put_at_{0};
  alignas(128) std::atomic<std::uint64_t> get_at_{0};
  std::array<cell, slots> cells_;
};

}  // namespace bench
