#pragma once
/// @file
/// What mailboxes must know of requests: where answers to this process go.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/detail/handle.hpp"

#include <cstdint>
#include <exception>

namespace mp::detail {

/// The queue that answers to our requests come through; made at first use. Throws error{out_of_resources}.
const handle& own_answers();

/// Does anybody still wait for its answer?
bool is_open_request(std::uint64_t number) noexcept;
/// It was never sent: ends it with `why`, or because the mailbox is full.
void fail_request(std::uint64_t number, std::exception_ptr why) noexcept;
void refuse_request(std::uint64_t number) noexcept;

}  // namespace mp::detail
