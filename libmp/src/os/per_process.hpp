#pragma once
/// @file
/// Objects of which a process has one: a raw fork() must neither share them nor end what they hold, and a mutex in the
/// parent's may be held for ever in the copy.
///
/// Shape:    one_per_process notices a fork by itself and makes a new object; fork_state keeps its object in static
///           storage, needs no memory, and is begun again by the code that runs first in the child.
/// Threads:  thread-safe, but `begin_again`.   Processes: the point of it.

#include "os/fork_guard.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace mp::os {

/// This process's T, made at the first call and never destroyed: static destructors and detached threads may use it.
/// A forked child gets a new one; the parent's is leaked there, with what it holds. Throws what making a T throws.
template <class T>
T& one_per_process() {
  struct holder {
    const std::uint64_t generation = fork_generation();
    T object{};
  };
  static std::atomic<holder*> instance{nullptr};
  holder* now = instance.load(std::memory_order_acquire);
  while (!now || now->generation != fork_generation()) {
    // Threads may come here at once: one of them wins, all use its.
    auto fresh = std::make_unique<holder>();
    if (instance.compare_exchange_strong(now, fresh.get(), std::memory_order_acq_rel)) now = fresh.release();
  }
  return now->object;
}

/// The one T of a process, in static storage.
template <class T>
class fork_state {
public:
  static T& get() noexcept {
    static T* const made = new (storage) T;
    return *made;
  }
  /// In the only thread of a forked child: what the parent's T held is leaked.
  static void begin_again() noexcept {
    get();
    new (storage) T;
  }

private:
  alignas(T) static inline std::byte storage[sizeof(T)];
};

}  // namespace mp::os
