#pragma once
/// @file
/// Why a function in another process failed, and what is known of a process that died.
///
/// Model:    the remote traceback of Python's Pool, as plain values.
/// Threads:  values.                 Processes: copied.
/// Source:   doc/decisions/0004-errors.md.

#include "mp/detail/std_parts.hpp"
#include "mp/exit_status.hpp"

#include <sys/types.h>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mp {

/// One exception in a chain of nested ones.
struct cause {
  std::string type_name{};  ///< demangled
  std::string what{};
};

/// Why a function in another process failed; a plain value.
struct failure {
  std::string type_name{};  ///< of the exception; empty after a crash
  std::string what{};
  std::vector<cause> nested{};  ///< from the outside in
  std::string backtrace{};      ///< text, one frame a line
  std::string stderr_tail{};    ///< the last 4 KiB, where stderr was captured
};

/// What ended a process, as far as anybody can tell.
enum class death { exited, signaled, memory_limit, oom_killer, deadline, cancelled, unknown };

using task_id = std::uint64_t;

/// All that is known of a process that ended while something depended on it.
struct post_mortem {
  mp::exit_status status{};
  mp::death why = death::unknown;
  std::string process_name{};
  pid_t pid = 0;
  task_id task = 0;
  int attempt = 0;
  std::string function{};  ///< what it ran
  mp::failure failure{};
  std::chrono::nanoseconds user_time{}, system_time{};
  std::size_t peak_memory = 0;  ///< bytes; with spawn and fork the kernel begins at the parent's peak
};

}  // namespace mp
