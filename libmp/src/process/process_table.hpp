#pragma once
/// @file
/// The children of this process that nobody has seen end: for active_children, for reaping, for the orderly end.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0007-what-dies-with-whom.md.

#include "process/child.hpp"

#include <memory>
#include <vector>

namespace mp::detail {

void add_child(std::shared_ptr<child>);
/// Its end was seen.
void remove_child(const child*) noexcept;
/// Its handle is gone: from now on the table reaps it.
void let_go_of_child(const child*) noexcept;
/// Those that still run; the others are reaped and forgotten.
std::vector<std::shared_ptr<child>> running_children();
/// Reaps children whose handles are gone, if there may be enough of them to be worth a look.
void reap_some() noexcept;

/// The orderly end: daemons get SIGTERM and after a second SIGKILL, the others are joined, with a line on stderr after
/// a second. Once; in a forked child nothing.
void end_children() noexcept;
/// All that are there, ended or not.
std::vector<std::shared_ptr<child>> all_children();
/// In a forked child: the parent's children are not ours.
void abandon_process_table() noexcept;

}  // namespace mp::detail
