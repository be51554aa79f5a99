#pragma once
/// @file
/// The end of a process of which only the address is known.
/// Not for users: the face for CAF is made of this.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0011-caf-face.md.

#include "mp/address.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/exit_status.hpp"

namespace mp::detail {

/// Calls `told`, once, on the I/O thread, when the process has ended: with its status if it is a child of ours, else with
/// an unknown one. At once if it has ended; never if it is this process.
///
/// Throws: error{out_of_resources}; error{shut_down}.
void when_ended(const address& of, std::function<void(const mp::exit_status&)> told);

}  // namespace mp::detail
