#pragma once
/// @file
/// What a supervisor is made from.
///
/// Threads:  a value.                Processes: process-bound.

#include "mp/supervisor.hpp"

#include <vector>

namespace mp::detail {

struct supervisor_plan {
  supervisor_options options;
  std::vector<child_spec> children;
};

}  // namespace mp::detail
