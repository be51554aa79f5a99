#pragma once
/// @file
/// The end of everything that the library runs in this process, for `mp::shutdown`.
/// Not for users.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0007-what-dies-with-whom.md.

#include "mp/duration.hpp"
#include "mp/exit_status.hpp"

#include <sys/types.h>
#include <string>
#include <vector>

namespace mp::detail {

/// What became of one child.
struct ended_process {
  std::string name{};
  pid_t pid = 0;
  mp::exit_status status{};
  bool killed = false;  ///< it did not end in time
  bool ended = true;    ///< false: not even SIGKILL ended it
};

/// No process starts from now on: starts throw shut_down.
void refuse_starts() noexcept;
/// Ends all children: asked to stop (the stop token of those that take one, else SIGTERM), killed at `until`, and
/// reaped; then the fork server. In the order in which they ended.
///
/// Waits:    until `until`, and then at most 2 s for the kernel.
std::vector<ended_process> end_processes(time_point until);
/// Ends the I/O thread and what is under way on it; later use throws shut_down. Waits: at most `limit`.
void end_io(duration limit) noexcept;

/// The orderly end of this process, and then the end by this signal, as if nobody had caught it.
[[noreturn]] void end_by_signal(int signal) noexcept;
/// Never returns while end_by_signal is under way: main came to its end meanwhile, and its code must not be the process's.
void hold_if_ending_by_signal() noexcept;

}  // namespace mp::detail
