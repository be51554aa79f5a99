#pragma once
/// @file
/// What mp::wait asks of things that have no descriptor: futures.
/// Not for users.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

namespace mp::detail {

/// Threads:  thread-safe.   Processes: process-bound.
class pollable {
public:
  pollable(const pollable&) = delete;
  pollable& operator=(const pollable&) = delete;

  /// Is it there? Never waits.
  virtual bool look() noexcept = 0;
  /// From here on the eventfd is written to when it is there, at once if it is. Throws: what the work must be told for.
  virtual void enter(int eventfd) = 0;
  /// No more. After an enter, also after one that threw.
  virtual void leave(int eventfd) noexcept = 0;

protected:
  pollable() = default;
  ~pollable() = default;
};

}  // namespace mp::detail
