#pragma once
/// @file
/// The library's own actor system: one per process, made when first needed, stopped at the orderly end with a deadline.
///
/// Shape:    faces of other processes are actors without a thread: they act in their sender's, and on the library's I/O
///           thread. What runs on the system's scheduler are isolated behaviors in their own process.
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0011-caf-face.md.

#include <caf/actor_system.hpp>

namespace mp::detail {

/// Throws: error{shut_down} after mp::shutdown.
caf::actor_system& caf_node();

}  // namespace mp::detail
