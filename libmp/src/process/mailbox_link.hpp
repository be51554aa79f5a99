#pragma once
/// @file
/// What starting and ending processes must know of mailboxes: how an address travels. Light, unlike mailbox_state.hpp.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/unique_fd.hpp"

#include <sys/types.h>
#include <cstddef>
#include <memory>
#include <vector>

namespace mp::detail {

class address_state;
class child;

/// A mailbox as it is handed over: an encoded handle.
struct packed_mailbox {
  std::vector<std::byte> bytes;
  std::vector<unique_fd> fds;
};

/// For a start message: our own address, the same descriptors each time. Empty if there is no room for a mailbox.
const packed_mailbox& packed_own_address() noexcept;
/// In a child, before it reads its parent's messages: a mailbox may be among them.
void expect_mailbox();
/// In a child: what came with its start message.
void set_parent_address(packed_mailbox&&, pid_t parent) noexcept;
/// A child has ended: its address is of no use any more.
void forget_address(pid_t pid) noexcept;
/// Throws error{closed}: the parent sent none.
std::shared_ptr<address_state> parent_address();
/// The address of a child: learned from its messages, or of a mailbox that is made for it now and handed over.
/// Throws error{closed}, error{peer_died}, error{out_of_resources}.
std::shared_ptr<address_state> address_of_child(child& c);

}  // namespace mp::detail
