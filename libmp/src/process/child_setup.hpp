#pragma once
/// @file
/// What a child does to itself before its function runs: directory, streams, limits, placement, name.
///
/// Threads:  before there are others.   Processes: children only.

#include "mp/unique_fd.hpp"
#include "process/start_message.hpp"

#include <string>
#include <vector>

namespace mp::detail {

/// Takes its descriptors out of `fds`; those of the call are left. Empty: done. Else one sentence on what failed.
std::string set_up_child(start_message& message, std::vector<unique_fd>& fds);

}  // namespace mp::detail
