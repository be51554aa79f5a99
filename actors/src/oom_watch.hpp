#pragma once
/// @file
/// Was it the kernel's OOM killer? Nobody tells a parent, but the kernel counts.
///
/// Model:    oom_kill of memory.events (cgroup 2), of memory.oom_control (cgroup 1), of /proc/vmstat (the whole machine).
/// Shape:    the counter of our own control group, as far as it can be read, else the machine's; a SIGKILL that is not
///           ours and a counter that has moved since the last look belong together.
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/failure.hpp"

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mp::detail {

/// The number behind "oom_kill " at the begin of a line; nullopt: there is none.
std::optional<std::uint64_t> oom_kills_in(std::string_view text) noexcept;
/// The files that may tell, the best first; `groups` is the text of /proc/self/cgroup.
std::vector<std::string> oom_files(std::string_view groups);

/// Threads:  thread-safe.   Processes: process-bound.
class oom_watch {
public:
  /// Of this process's own group.
  oom_watch();
  /// Of this file.
  explicit oom_watch(std::string file);

  /// For a process that died by a SIGKILL which nobody here has sent: oom_killer if the counter has moved since the last
  /// look, signaled if it has not, unknown if it cannot be read.
  death explain() noexcept;

private:
  std::optional<std::uint64_t> read() const noexcept;

  std::string file_;
  std::mutex mutex_;
  std::optional<std::uint64_t> seen_;
};

}  // namespace mp::detail
