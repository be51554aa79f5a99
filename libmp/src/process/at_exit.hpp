#pragma once
/// @file
/// The at_exit hooks of this process.
///
/// Threads:  thread-safe.            Processes: process-bound; forgotten in a forked child.

namespace mp::detail {

/// Runs them, last added first, and those that they add; each once.
void run_exit_hooks() noexcept;
void abandon_exit_hooks() noexcept;

}  // namespace mp::detail
