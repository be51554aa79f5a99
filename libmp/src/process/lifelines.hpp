#pragma once
/// @file
/// The one lifeline pipe of this process: made at the first start, held for life.
///
/// Threads:  thread-safe.            Processes: process-bound; a forked child makes its own.

namespace mp::detail {

/// The read end for a child. Throws error{out_of_resources}.
int lifeline_for_children();
/// In a forked child: the parent's pipe is not ours.
void abandon_lifeline() noexcept;

}  // namespace mp::detail
