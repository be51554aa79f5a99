// Limits of streams: rings in shared memory that move 64 bytes, and slots that move 1 MiB with one copy.
// They must do nothing that a channel needs besides (presence, death of a peer, sizes, types).

#include "../support/bench.hpp"
#include "../support/mpmc_ring.hpp"
#include "../support/spsc_ring.hpp"

namespace {

using namespace bench;

template <bool Sleeps>
double one_to_one() {
  auto* ring = shared<spsc_ring<Sleeps>>();
  join_membarrier();
  const child producer([&] {
    join_membarrier();  // the registration does not pass on to a fork's memory
    for (std::uint64_t n = 0;; ++n) ring->put([n](message& m) { fill(m, n); });
  });
  return rate([&] { ring->get([](const message& m) { consume(m); }); }, 256);
}

double many_to_many(int sides) {
  auto* ring = shared<mpmc_ring>();
  auto* count = shared<counters>();
  std::vector<child> all;
  for (int i = 0; i < sides; ++i) {
    all.emplace_back([&] {
      message m;
      for (std::uint64_t n = 0;; ++n) {
        fill(m, n);
        ring->put(m);
      }
    });
    all.emplace_back([&, i] {
      for (;;) {
        consume(ring->get());
        count->of[static_cast<std::size_t>(i)].add();
      }
    });
  }
  return rate(*count);
}

/// The producer copies its buffer into a slot, the consumer reads it there.
double large_one_copy() {
  constexpr std::size_t slots = 4;
  struct area {
    alignas(128) std::atomic<std::uint64_t> head{0};
    alignas(128) std::atomic<std::uint64_t> tail{0};
    alignas(4096) std::array<std::array<std::byte, large>, slots> slot;
  };
  auto* a = shared<area>();
  const child producer([&] {
    std::vector<std::byte> own(large);
    for (std::uint64_t n = 0;; ++n) {
      fill(own.data(), large, n);
      while (n - a->tail.load(std::memory_order_acquire) >= slots) pause_cpu();
      std::memcpy(a->slot[n % slots].data(), own.data(), large);
      a->head.store(n + 1, std::memory_order_release);
    }
  });
  std::uint64_t n = 0;
  return rate(
      [&] {
        while (a->head.load(std::memory_order_acquire) == n) pause_cpu();
        consume(a->slot[n % slots].data(), large);
        a->tail.store(++n, std::memory_order_release);
      },
      4);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "stream-pipe") {
    emit(name, {"spsc ring, sleeper runs membarrier", "limit", "sleeps"}, "rate", one_to_one<true>(), "msg/s");
    emit(name, {"spsc ring, both spin", "means", "spins"}, "rate", one_to_one<false>(), "msg/s");
  } else if (name == "stream-queue-1-1") {
    emit(name, {"Vyukov ring, sched_yield", "limit", "spins"}, "rate", many_to_many(1), "msg/s");
  } else if (name == "stream-queue-2-2") {
    emit(name, {"Vyukov ring, sched_yield", "limit", "spins"}, "rate", many_to_many(2), "msg/s");
  } else if (name == "stream-1mib") {
    emit(name, {"shared slots, one copy", "limit", "spins"}, "rate", large_one_copy() * large / 1e9, "GB/s");
  } else {
    return std::fprintf(stderr, "stream: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
