#pragma once
/// @file
/// Starts our own image again: one clone that shares memory until the exec, nothing inherited that is not named.
///
/// Shape:    the child finds its control socket and its lifeline under fixed numbers, and a mark in its environment
///           that holds its own pid, so that a grandchild that inherits the mark is not taken for one of ours.
/// Threads:  thread-safe.            Processes: any.
/// Source:   clone(2), execveat(2), close_range(2); doc/decisions/0001-start-methods.md.

#include "mp/unique_fd.hpp"

#include <sys/types.h>
#include <optional>
#include <string>
#include <vector>

namespace mp::os {

/// Numbers that an exec'ed child of ours finds open.
inline constexpr int spawned_control_fd = 3;   ///< SEQPACKET, to whoever started it
inline constexpr int spawned_lifeline_fd = 4;  ///< read end, not armed yet

/// What an exec'ed process is to become.
enum class spawned_as : char { worker = 'w', zygote = 'z' };

struct spawn_plan {
  spawned_as as = spawned_as::worker;
  std::vector<std::string> arguments;    ///< argv of the child
  std::vector<std::string> environment;  ///< "NAME=value"
  int control = -1, lifeline = -1;       ///< duplicated for the child
  int in = -1, out = -1, err = -1;       ///< become 0, 1, 2; -1: as ours
  bool own_group = false;                ///< leads a new process group
};

struct spawned {
  pid_t pid = 0;
  unique_fd pidfd;
};

/// Starts it. The child has all signals blocked until mp::init there resets them.
/// Throws error{start_failed}, error{out_of_resources}.
spawned spawn_image(const spawn_plan& plan);

/// In an exec'ed child: what it was started as; nullopt: not by us. Removes the mark from the environment.
std::optional<spawned_as> recognise_spawned() noexcept;

}  // namespace mp::os
