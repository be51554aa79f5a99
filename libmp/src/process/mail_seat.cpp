// Seats. Must never leave a sender waiting for a holder that does not come.

#include "mp/detail/mail_seat.hpp"

#include "mp/error.hpp"
#include "mp/process.hpp"
#include "os/proc.hpp"
#include "process/child.hpp"
#include "process/mailbox_state.hpp"
#include "process/process_access.hpp"

#include <mutex>

namespace mp::detail {

mail_seat::mail_seat() {
  const handle all = make_mailbox(usual_mailbox_bound);
  state_ = std::make_shared<address_state>(handle(all.shared(), role::sender), 0, 0);
  vacate();
}

mail_seat::~mail_seat() {
  try {
    state_->moves_to(0, 0);
    state_->to().shared()->change_holder(true);
  } catch (...) {  // the copy of a forked child: nothing there is ours
  }
}

void mail_seat::give_to(const process& p) {
  const auto c = process_access::child_of(p, "supervisor::address");
  check_still_runs(*c, "supervisor::address");
  channel& mailbox = *state_->to().shared();
  // What others had in hand when they died: nobody asks for it, and it must not pile up.
  mailbox.take_lost([](void*, lost_message&&) {}, nullptr);
  const pid_t pid = c->who().pid;
  const std::uint64_t start_time = os::start_time_of(pid);
  if (const int problem = hand_over_mailbox(mailbox, *c)) {
    check_still_runs(*c, "supervisor::address");
    throw_system_error(errc::out_of_resources, "supervisor::address: cannot hand a mailbox to " + c->who().name,
                       problem);
  }
  state_->moves_to(pid, start_time);
  mailbox_state& me = own_mailbox();
  const std::lock_guard lock(me.mutex);
  me.known.try_emplace({pid, start_time}, state_);
}

void mail_seat::vacate() noexcept {
  state_->moves_to(0, 0);
  state_->to().shared()->change_holder(false);
}

mp::address mail_seat::address() const { return address_access::make(state_); }

}  // namespace mp::detail
