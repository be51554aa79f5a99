#pragma once
/// @file
/// Descriptors that wait in this process to be sent to another: those of a task, of a process that is not started.
/// Not for users.
///
/// Shape:    closed in every child of fork(): who inherited them would keep ends of channels open that are somebody
///           else's to close.
/// Threads:  thread-compatible.      Processes: process-bound.
/// Source:   doc/decisions/0007-what-dies-with-whom.md.

#include "mp/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mp::detail {

/// Threads:  thread-compatible.   Processes: process-bound; a forked child's copy holds nothing.
class waiting_fds {
public:
  waiting_fds() noexcept = default;
  waiting_fds(std::vector<unique_fd> fds) noexcept;
  waiting_fds(waiting_fds&& other) noexcept;
  waiting_fds& operator=(waiting_fds&& other) noexcept;
  ~waiting_fds();

  std::size_t size() const noexcept { return fds_.size(); }
  std::vector<unique_fd>::const_iterator begin() const noexcept { return fds_.begin(); }
  std::vector<unique_fd>::const_iterator end() const noexcept { return fds_.end(); }
  /// Throws error{wrong_process} in a forked child, if there are any; `what` holds them.
  void check_process(const char* what) const;
  /// Gives them away, unguarded.
  std::vector<unique_fd> release() noexcept;

private:
  std::vector<unique_fd> fds_;
  std::uint64_t made_in_ = 0;
};

}  // namespace mp::detail
