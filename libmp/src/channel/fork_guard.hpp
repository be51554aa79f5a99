#pragma once
/// @file
/// Tells a process from its raw forked copy.
///
/// Threads:  thread-safe.            Processes: process-bound.

namespace mp::detail {

/// How many forks lie between this process and the one that first asked. What remembers the number it was made under
/// knows whether it is used in a forked copy. Costs one load.
unsigned fork_generation() noexcept;

/// Throws wrong_process if `made_in` is not this generation. `what` names the object: "queue".
void check_generation(unsigned made_in, const char* what);

}  // namespace mp::detail
