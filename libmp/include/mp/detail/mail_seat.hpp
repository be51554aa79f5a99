#pragma once
/// @file
/// A mailbox that outlives those who receive from it: one process after the other.
/// Not for users: a supervisor's `address` is the way in.
///
/// Shape:    a queue channel of which this process keeps the sending side; each holder is handed everything of it over
///           its control socket, as any child whose parent sends to it first.
/// Copies:   as address.
/// Threads:  one thread at a time; the address is thread-safe.   Processes: process-bound; the address is shareable.
/// Death:    what a dead holder had not taken stays for the next one; what it had in hand is lost with it.
/// Source:   doc/decisions/0008-mailboxes.md, doc/decisions/0010-supervisors.md.

#include "mp/address.hpp"

#include <memory>

namespace mp {
class process;

namespace detail {

/// Threads:  one thread at a time.   Processes: process-bound.
class mail_seat {
public:
  /// Nobody holds it yet. Throws: error{out_of_resources}.
  mail_seat();
  /// For good: a send throws closed.
  ~mail_seat();
  mail_seat(const mail_seat&) = delete;
  mail_seat& operator=(const mail_seat&) = delete;

  /// From now on `p` receives: started, running, and never spoken to by process::send.
  /// Throws: error{closed}, error{peer_died}: it has ended; error{out_of_resources}.
  void give_to(const process& p);
  /// The holder has ended: until the next one comes, a send throws peer_died.
  void vacate() noexcept;

  mp::address address() const;

private:
  std::shared_ptr<address_state> state_;
};

}  // namespace detail
}  // namespace mp
