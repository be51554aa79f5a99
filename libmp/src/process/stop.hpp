#pragma once
/// @file
/// The stop token of a child, and the watch for messages of its parent.
///
/// Threads:  thread-safe.            Processes: process-bound.

namespace mp::detail {

/// Trips this process's stop token.
void trip_stop_token() noexcept;
/// In a forked child: a fresh token, no watch.
void reset_stop_state() noexcept;
/// Looks for messages of the parent from now on, on the I/O thread. Children only; again does nothing.
void watch_parent();

}  // namespace mp::detail
