#pragma once
/// @file
/// A child's life, from its first instruction of ours to its end. Nothing here returns to user code above it.
///
/// Threads:  the child's first thread.   Processes: children only.
/// Source:   doc/process-model.md.

namespace mp::detail {

/// In a child of the fork server: its control socket, its lifeline's own read end (not armed).
[[noreturn]] void enter_zygote_child(int control, int lifeline);
/// In a child of fork(): the same; first forgets what is the parent's.
[[noreturn]] void enter_forked_child(int control, int lifeline);
/// In an exec'ed worker, under the fixed numbers of os/spawn.hpp.
[[noreturn]] void enter_spawned_child();

/// The orderly end of a process: at_exit hooks, its own children, output; then _exit.
[[noreturn]] void end_process(int code);
/// The same without the _exit, once: also what std::exit runs in the first process.
void run_orderly_end() noexcept;

}  // namespace mp::detail
