#pragma once
/// @file
/// This process's mailbox, and the addresses of others.
///
/// Shape:    a mailbox is a queue channel of which its owner holds everything; an address holds a sender of it. A child
///           gets its parent's address with its task; a parent that sends to a child that has no mailbox yet makes one
///           and hands it over the control socket. A child that made its own before uses that one no more, or, if
///           others know it already, has what its parent sends put into it.
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/detail/handle.hpp"
#include "mp/mailbox.hpp"
#include "os/control.hpp"
#include "process/mailbox_link.hpp"
#include "process/outbox.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

namespace mp::detail {

/// Another process's mailbox, or our own.
class address_state {
public:
  address_state(handle to, pid_t pid, std::uint64_t start_time)
      : to_(std::move(to)), pid_(pid), start_time_(start_time) {}

  pid_t pid() const noexcept { return pid_.load(std::memory_order_relaxed); }
  std::uint64_t start_time() const noexcept { return start_time_.load(std::memory_order_relaxed); }
  /// A seat's next holder.
  void moves_to(pid_t pid, std::uint64_t start_time) noexcept {
    pid_.store(pid, std::memory_order_relaxed);
    start_time_.store(start_time, std::memory_order_relaxed);
  }
  bool is_alive() const noexcept;
  const handle& to() const noexcept { return to_; }
  /// True for the first caller, and again when the mailbox has another holder: its message brings our address along.
  bool introduce() noexcept {
    const std::uint64_t now = present_holder();
    return introduced_.exchange(now) != now;
  }
  void forget_introduction() noexcept { introduced_.store(0); }
  /// Does the present holder know where answers to our requests go?
  bool knows_answers() const noexcept { return answers_told_.load() == present_holder(); }
  void answers_told() noexcept { answers_told_.store(present_holder()); }
  std::mutex& first_request() noexcept { return first_request_; }
  /// Ours that could not be put at once: none of ours may overtake them.
  outbox& late() const noexcept { return *late_; }

private:
  std::uint64_t present_holder() const noexcept {
    return std::uint64_t{to_.shared() ? to_.shared()->holder_changes() : 0} + 1;
  }

  handle to_;  // a sender
  std::atomic<pid_t> pid_;
  std::atomic<std::uint64_t> start_time_;
  std::atomic<std::uint64_t> introduced_{0};  // to which present_holder; 0: to nobody
  std::atomic<std::uint64_t> answers_told_{0};
  std::mutex first_request_;
  const std::shared_ptr<outbox> late_ = std::make_shared<outbox>();
};

/// A process that has asked this one.
struct asker {
  explicit asker(handle to) : answers(std::move(to)) {}
  const handle answers;  // a sender of the queue that its answers come through
  const std::shared_ptr<outbox> late = std::make_shared<outbox>();
};

/// What a message brings besides its values.
enum : std::uint8_t { brings_address = 1, is_request = 2, brings_answers = 4 };

/// An address that this process learned from a message, by pid; null: none.
std::shared_ptr<address_state> known_address(pid_t pid, std::uint64_t start_time);

inline constexpr std::ptrdiff_t usual_mailbox_bound = 10'000;

/// Puts one message: ok, timed_out: no room; never later than others that wait, so only for who looked after these.
/// With `until` time_point::min() also busy. Throws as send_mail.
op_status put_mail(const std::shared_ptr<address_state>& to, const letter& what, time_point until, const char* call,
                   question asks = {});
/// post_mail with a question.
bool post_mail(const std::shared_ptr<address_state>& to, const letter& what, const char* call, question asks);

/// Everything of this process's mailbox.
struct mailbox_state {
  std::recursive_mutex mutex;  // guards the following; an address is encoded under it
  handle own, keep;            // everything; a sender, so that no receive ends because nobody is left
  bool known_outside = false;  // somebody may hold our address: the mailbox cannot be exchanged any more
  std::ptrdiff_t bound = usual_mailbox_bound;
  std::map<std::pair<pid_t, std::uint64_t>, std::shared_ptr<address_state>> known;
  std::map<std::pair<pid_t, std::uint64_t>, std::shared_ptr<const asker>> answer_to;  // who has asked us
  packed_mailbox to_children, from_parent;
  pid_t parent = 0;
  std::shared_ptr<address_state> parent_state;
  std::atomic<bool> watching{false};

  // One receiving thread at a time:
  std::mutex receiving;
  std::deque<std::shared_ptr<mail>> aside;

  /// The channel that is received from now; made at first use.
  std::shared_ptr<channel> channel_now();
  void adopt(handle fresh);
};

/// Made at first use; a forked child has a new one.
mailbox_state& own_mailbox();

handle make_mailbox(std::ptrdiff_t bound);
/// Gives everything of it to a child, over its control socket. 0 or errno.
int hand_over_mailbox(channel& c, child& to);
/// Throws error{closed}, error{peer_died}: it does not.
void check_still_runs(child& c, const char* call);

/// In a child: what its parent hands over is looked for from now on.
void watch_for_parent();

inline constexpr os::control_kind mailbox_kind{static_cast<std::uint32_t>(os::control_kind::first_free)};

}  // namespace mp::detail
