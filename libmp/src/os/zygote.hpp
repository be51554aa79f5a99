#pragma once
/// @file
/// The fork server: a single-threaded copy of our image that forks one child per request and stays its parent.
///
/// Model:    Python's forkserver; different: it passes a pidfd, reports a status that nobody can steal, and exits with
///           the process it serves.
/// Shape:    a request is one empty record with the child's control socket; everything else goes straight from the
///           starter to the child. `started` and `status` come to the starter through that same socket.
/// Threads:  single-threaded; refuses to fork otherwise.   Processes: one per process that starts children.
/// Death:    it is killed with its process by the lifeline; its children do not die with it.
/// Source:   prototypes' start_single_fork; doc/decisions/0001-start-methods.md.

#include <sys/resource.h>
#include <sys/types.h>

namespace mp::os {

/// Body of `started`.
struct zygote_started {
  pid_t pid = 0;
};
/// Body of `status`.
struct zygote_status {
  pid_t pid = 0;
  int code = 0, status = 0;  ///< as in siginfo_t
  rusage usage{};
};
/// Body of `refused` from a fork server.
struct zygote_refusal {
  int problem = 0;  ///< errno; 0: `threads` tells
  int threads = 0;  ///< more than one: a fork would be unsafe
};

/// Runs in a new child, in the fork server's image; must not return. Descriptors: its control socket, its lifeline's
/// read end (open anew, not armed).
using zygote_child = void (*)(int control, int lifeline);

/// Serves until the other end of `requests` has gone.
[[noreturn]] void serve_zygote(int requests, int lifeline, zygote_child child);

}  // namespace mp::os
