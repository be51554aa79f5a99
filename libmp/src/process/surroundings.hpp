#pragma once
/// @file
/// What a child takes over from its parent at the moment of start: directory, environment, limits, placement.
///
/// Shape:    the fork server has the surroundings of the moment when it was started; the start message carries what
///           has changed since. What cannot be changed from inside (credentials, namespaces, cgroup) is `placement`:
///           if it differs, the fork server is replaced.
/// Threads:  read in the thread that starts.   Processes: values.
/// Source:   doc/decisions/0001-start-methods.md.

#include <sys/resource.h>
#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mp::detail {

struct surroundings {
  std::vector<std::string> environment;
  std::pair<std::uint64_t, std::uint64_t> directory;  // device and inode of "."
  std::array<rlimit, RLIM_NLIMITS> limits{};
  std::vector<std::byte> affinity;  // the kernel's mask of the calling thread
  int nice = 0;
  pid_t group = 0;
  std::optional<mode_t> umask;
  std::string placement;
};

/// All of it. `with_placement` false leaves out umask and placement, which cost most.
surroundings read_surroundings(bool with_placement);
/// The two that read_surroundings left out.
void read_placement_into(surroundings&);

/// The calling process's environment as "NAME=value".
std::vector<std::string> read_environment();
/// The kernel's affinity mask of the calling thread; empty if it cannot be read.
std::vector<std::byte> read_affinity();
/// Makes `environment` the calling process's. Only while no other thread runs.
void replace_environment(const std::vector<std::string>& environment);

}  // namespace mp::detail
