#pragma once
/// @file
/// What became of processes that were told to end.
///
/// Threads:  values.                 Processes: process-bound.

#include "mp/exit_status.hpp"

#include <sys/types.h>
#include <string>
#include <vector>

namespace mp {

/// One process that has gone.
struct departure {
  std::string name{};
  pid_t pid = 0;
  mp::exit_status status{};
};

/// Who ended, who had to be killed, and what is left although it should not be.
///
/// Threads:  a value.   Processes: process-bound.
struct verdict {
  std::vector<departure> ended{}, killed{};  ///< in the order in which they went
  std::vector<std::string> leaked{};         ///< one line each
  /// Nobody was killed and nothing leaked.
  bool clean() const noexcept;
};

}  // namespace mp
