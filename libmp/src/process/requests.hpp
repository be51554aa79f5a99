#pragma once
/// @file
/// What mailboxes must know of requests: where answers to this process go.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/detail/handle.hpp"

namespace mp::detail {

/// The queue that answers to our requests come through; made at first use. Throws error{out_of_resources}.
const handle& own_answers();

}  // namespace mp::detail
