#pragma once
/// @file
/// The library's own way to the child behind a process object.
///
/// Threads:  as process.             Processes: process-bound.

#include "mp/process.hpp"

namespace mp::detail {

struct process_access {
  /// Throws: error{not_started}, error{closed}.
  static std::shared_ptr<child> child_of(const process& p, const char* call) { return p.started_child(call); }
};

}  // namespace mp::detail
