#pragma once
/// @file
/// What /proc and /sys tell: threads, start times, credentials, placement, processors. Floor 2.
///
/// Shape:    every reader is tolerant: what cannot be read is "not known", never an error.
/// Threads:  free functions.         Processes: about the calling process unless a pid is given.
/// Source:   proc(5), cgroups(7).

#include <sys/types.h>
#include <cstdint>
#include <optional>
#include <string>

namespace mp::os {

/// A small file, whole; empty if it cannot be read.
std::string read_file(const char* path);

/// How many threads this process has; 0 if /proc is not there.
int thread_count() noexcept;

/// When a process was started, in clock ticks since boot; 0 if there is none (any more).
std::uint64_t start_time_of(pid_t pid) noexcept;

/// Does the process that was started then still run? One look: false for a zombie and for one that is reaped meanwhile.
/// A process whose first thread has ended runs as long as another does. Without /proc: does the number exist?
bool is_running(pid_t pid, std::uint64_t start_time) noexcept;

/// Is the process stopped, by a signal or a debugger? False where that is not known.
bool is_stopped(pid_t pid) noexcept;

/// The wait word of a process that is a zombie; nullopt if it is none, or if the kernel would not tell us.
std::optional<int> zombie_exit_code(pid_t pid) noexcept;

/// What decides where and as whom a child would run, as one text to compare: ids, capabilities, no_new_privs,
/// seccomp, cgroups, namespaces, session. Empty where /proc is not there. With the file mode mask, which only /proc
/// tells without changing it.
struct placement {
  std::string text;
  std::optional<mode_t> umask;
};
placement read_placement();

/// Processors that this process may use: affinity and the quotas of its cgroups; at least 1.
int usable_cpus();

/// The quota arithmetic, on a file tree that a test can make. `root` is where cgroups are mounted ("/sys/fs/cgroup"),
/// `membership` what /proc/self/cgroup holds. nullopt: no quota.
std::optional<double> cgroup_cpu_quota(const std::string& root, const std::string& membership);

}  // namespace mp::os
