#pragma once
/// @file
/// A word in shared memory that tells of a thread's end when the end begins, before the kernel has taken its process
/// apart. Not for users, but for upper floors that wait for a process's answers.
///
/// Shape:    a robust mutex that its holder never unlocks. The kernel marks its word and wakes one sleeper first of all
///           it does for an ending thread, a third of a millisecond before the process's parent hears of it.
/// Threads:  see the class.          Processes: shareable, lies in a shared_block.
/// Death:    that is what it is for. A holder that was killed while it began to hold is one that never held: nothing is
///           told, and whoever waits must hear of its end by other means. A mark is no proof of an end: exec marks, too.
/// Source:   set_robust_list(2), the kernel's Documentation/locking/robust-futexes.rst; doc/decisions/0017-news-of-a-death.md.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mp::detail {

/// Zero is its first state: nobody holds it.
///
/// Threads:  thread-safe; hold() by one thread.   Processes: shareable.
class robust_futex {
public:
  /// The calling thread holds it until it ends. Where the system has no such thing, nobody does.
  void hold() noexcept;
  /// Nobody holds it. Only when its holder has ended, or never was.
  void reset() noexcept { offset_.store(0, std::memory_order_release); }
  /// Its holder is ending, or has ended.
  bool is_let_go() const noexcept;

private:
  friend class shared_bell;
  using word = std::atomic<std::uint32_t>;
  const word* find_word() const noexcept;

  alignas(8) std::byte mutex_[48];
  word offset_;  // of the word the kernel marks, in mutex_, + 1; 0: nobody holds it
};

/// Those whose end a sleeper wants to hear of. More than it has room for are not heard.
class robust_futexes {
public:
  void add(const robust_futex& f) noexcept {
    if (size_ != all_.size()) all_[size_++] = &f;
  }
  bool any_let_go() const noexcept {
    return std::any_of(all_.begin(), all_.begin() + size_, [](const robust_futex* f) { return f->is_let_go(); });
  }
  std::span<const robust_futex* const> span() const noexcept { return {all_.data(), size_}; }

private:
  std::array<const robust_futex*, 31> all_;
  std::size_t size_ = 0;
};

}  // namespace mp::detail
