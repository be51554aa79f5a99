#pragma once
/// @file
/// An owner of one file descriptor.
///
/// Model:    std::unique_ptr, for a descriptor.
/// Threads:  thread-compatible.      Processes: transferable (an item or argument carries it to another process).
/// Source:   STYLE lesson "a descriptor has an owner from its first instruction".

#include <utility>

namespace mp {

/// Owns one descriptor and closes it. Empty is -1.
///
/// Threads:  thread-compatible.   Processes: transferable.
class unique_fd {
public:
  unique_fd() noexcept = default;
  /// Takes ownership of `fd`; any negative number means "none".
  explicit unique_fd(int fd) noexcept : fd_(fd < 0 ? -1 : fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~unique_fd() { reset(); }

  /// The number, still owned here; -1 if there is none.
  int get() const noexcept { return fd_; }
  /// Gives the descriptor away: the caller closes it.
  int release() noexcept { return std::exchange(fd_, -1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  /// Closes what is owned and takes `fd` instead. Never changes errno.
  void reset(int fd = -1) noexcept;

private:
  int fd_ = -1;
};

}  // namespace mp
