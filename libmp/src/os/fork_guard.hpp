#pragma once
/// @file
/// What a raw fork() must not do to us: handles that seem to work in the copy, descriptors that live on in it.
///
/// Shape:    a page that the kernel wipes in every forked child holds this process's generation; a bitmap knows the
///           descriptors that only this process may hold; a child hook of pthread_atfork closes those.
/// Threads:  thread-safe.            Processes: process-bound, that is the point.
/// Source:   madvise(2) MADV_WIPEONFORK; doc/decisions/0007-what-dies-with-whom.md.

#include "mp/unique_fd.hpp"

#include <atomic>
#include <cstdint>
#include <utility>

namespace mp::os {

namespace guard {
extern std::atomic<std::uint64_t>* generation_word;  // on a page that a fork wipes; null before the first use
std::uint64_t new_generation() noexcept;
}  // namespace guard

/// A number that no process has in common with one that it was forked from. Never 0. Two loads.
/// A handle stores it when it is made; where it differs later, the handle was copied by a fork.
inline std::uint64_t fork_generation() noexcept {
  const auto* word = guard::generation_word;
  const std::uint64_t seen = word ? word->load(std::memory_order_relaxed) : 0;
  return seen != 0 ? seen : guard::new_generation();
}

/// Throws error{wrong_process} if `made_in` is not this process's generation; `what` is the call: "queue::get".
void check_process(std::uint64_t made_in, const char* what);

/// Marks a descriptor as ours alone: it is closed in a child of fork(). Call `forget_on_fork` before closing it.
void close_on_fork(int fd) noexcept;
void forget_on_fork(int fd) noexcept;

/// Runs `hook(context)` in every child of fork(), there in the only thread, before fork returns. Signal-safe calls
/// only. At most 16 hooks, for the life of the process; false: no place left.
bool add_fork_hook(void (*hook)(void* context) noexcept, void* context) noexcept;

/// Owns a descriptor that is closed in forked children, too.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class guarded_fd {
public:
  guarded_fd() noexcept = default;
  explicit guarded_fd(unique_fd fd) noexcept : fd_(std::move(fd)), made_in_(fork_generation()) {
    if (fd_) close_on_fork(fd_.get());
  }
  guarded_fd(guarded_fd&& other) noexcept = default;
  guarded_fd& operator=(guarded_fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::move(other.fd_);
      made_in_ = other.made_in_;
    }
    return *this;
  }
  guarded_fd& operator=(unique_fd fd) noexcept { return *this = guarded_fd(std::move(fd)); }
  ~guarded_fd() { reset(); }

  int get() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  /// Closes it. In a forked child the hook has closed it already: there it only forgets it.
  void reset() noexcept {
    if (!fd_) return;
    if (made_in_ != fork_generation()) return abandon();
    forget_on_fork(fd_.get());
    fd_.reset();
  }
  /// Gives it away, unguarded.
  unique_fd release() noexcept {
    if (fd_) forget_on_fork(fd_.get());
    return std::move(fd_);
  }
  /// Forgets it without closing.
  void abandon() noexcept { static_cast<void>(fd_.release()); }

private:
  unique_fd fd_;
  std::uint64_t made_in_ = 0;
};

}  // namespace mp::os
