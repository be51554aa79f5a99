#pragma once
/// @file
/// What ps and top show as a process's command line. Floor 2.
///
/// Threads:  not thread-safe: at a process's beginning.   Processes: about the calling process.
/// Source:   prctl(2), PR_SET_MM.

#include <string_view>

namespace mp::os {

/// Gives this process another command line. The old one's bytes stay as they are: others may point at them. False: the
/// kernel does not let us.
bool set_title(std::string_view title) noexcept;

}  // namespace mp::os
