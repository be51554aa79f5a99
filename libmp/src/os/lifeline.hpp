#pragma once
/// @file
/// The lifeline: a silent pipe by which the kernel kills a child when its parent dies, whatever the child does then.
///
/// Model:    PR_SET_PDEATHSIG; different: follows the process, not the thread that forked, and works for any parent.
/// Shape:    the parent holds the only write end. Each child opens the read end anew (its own open file description)
///           and asks for SIGKILL when something happens there; the only thing that can is that the write end goes.
/// Threads:  free functions.         Processes: the write end must never be in any other process.
/// Source:   fcntl(2) F_SETSIG; MEASURED E1; doc/decisions/0007-what-dies-with-whom.md.

#include "os/fork_guard.hpp"

#include "mp/unique_fd.hpp"

namespace mp::os {

/// The parent's side.
struct lifeline {
  guarded_fd write;  ///< while this is open, the children live
  unique_fd read;    ///< what children get
};
/// Throws error{out_of_resources}.
lifeline make_lifeline();

/// A second, independent open file description of the read end; -errno. Needs /proc.
int reopen_lifeline(int read_end) noexcept;

/// In the child, with a descriptor of reopen_lifeline: from now on the calling process dies with its parent. If the
/// parent is gone already, it dies here. 0 or errno. Signal-safe.
int arm_lifeline(int own_read_end) noexcept;

/// Is the process at the other end still there?
bool lifeline_is_up(int read_end) noexcept;

}  // namespace mp::os
