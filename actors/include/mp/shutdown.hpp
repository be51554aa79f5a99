#pragma once
/// @file
/// The orderly end of everything that the library runs in this process.
///
/// Model:    Kubernetes' grace period: asked, awaited, killed when the time is up; here with an account.
/// Shape:    pools, supervisors, children, then the I/O thread; later use throws shut_down.
/// Threads:  thread-safe.            Processes: about the calling one.
/// Source:   doc/decisions/0010-supervisors.md, doc/decisions/0007-what-dies-with-whom.md.

#include "mp/detail/std_parts.hpp"
#include "mp/duration.hpp"
#include "mp/verdict.hpp"

#include <initializer_list>

namespace mp {

/// Ends what is there: who ended, who had to be killed when `limit` was over, what is left. A child is asked by its stop
/// token if its function takes one, else by SIGTERM. From now on starts and asynchronous operations throw shut_down. Again:
/// what came since.
///
/// Waits:    at most `limit`, and then a moment for the kernel.
/// Throws:   error{would_deadlock} on the library's I/O thread.
/// Threads:  safe; a second caller waits for the first.   Processes: the calling one and its descendants.
[[nodiscard]] verdict shutdown(duration limit);

/// From now on the first of these signals shuts this process down in order: `shutdown(limit)`, one line on stderr for
/// each process that had to be killed, at_exit hooks, output flushed; then the signal ends the process, as if nobody had
/// caught it (a shell shows 128 + its number). A second signal ends it at once, and the kernel its descendants.
/// Without this call the library installs no handler.
///
/// Throws:   error{invalid_argument}: no such signal, or one that cannot be caught; error{out_of_resources}.
/// Twice:    adds signals; the last limit counts.
/// Threads:  safe.   Processes: the calling one; children have their own handlers.
void shutdown_on(std::initializer_list<int> signals, duration limit = std::chrono::seconds(5));

}  // namespace mp
