#pragma once
/// @file
/// Where to send: the name of one process's mailbox.
///
/// Model:    Erlang's process identifier.
/// Copies:   messages are copied on send.
/// Threads:  thread-safe.            Processes: shareable.
/// Death:    a send to a process that has left throws closed, to one that died peer_died.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/detail/mail.hpp"
#include "mp/detail/request.hpp"
#include "mp/duration.hpp"
#include "mp/future.hpp"

#include <sys/types.h>
#include <memory>
#include <utility>

namespace mp {

namespace detail {
class address_state;
struct address_access;
/// False: no room by `until`. Throws closed, peer_died, too_large, out_of_resources.
bool send_mail(const std::shared_ptr<address_state>& to, const letter& what, time_point until, const char* call);
/// For who cannot wait and cannot come again: if somebody else is putting just now, the message is kept and follows
/// soon. False: the mailbox is full. Throws: as send_mail.
bool post_mail(const std::shared_ptr<address_state>& to, const letter& what, const char* call);
}  // namespace detail

/// Names one process's mailbox. Copies name the same; an address may be an argument, an item, or part of a message.
///
/// Threads:  thread-safe.   Processes: shareable.
class address {
public:
  /// Nobody: sends throw closed.
  address() noexcept = default;

  /// The number of the process, for printing; 0: nobody. Throws: nothing.
  pid_t pid() const;
  /// Does the process still run? A snapshot. Throws: nothing.
  bool is_alive() const;
  /// The same process.
  friend bool operator==(const address& a, const address& b) noexcept;

  /// Puts a message of these values into the mailbox; a literal travels as std::string.
  ///
  /// Waits:    while the mailbox is full (10,000 messages, unless its owner said otherwise).
  /// Throws:   error{closed}: the process has left; error{peer_died}; error{unencodable}, error{too_large}.
  /// Order:    messages of one sender to one address arrive in the order in which they were sent.
  template <class... V>
  void send(V&&... values) const {
    post(time_point::max(), "address::send", std::forward<V>(values)...);
  }
  /// The same, but never waits. False: the mailbox is full, or others send to it right now; nothing was sent.
  ///
  /// Throws:   as send.
  template <class... V>
  [[nodiscard]] bool try_send(V&&... values) const {
    return post(time_point::min(), "address::try_send", std::forward<V>(values)...);
  }
  /// The same. False: the mailbox was full for so long; nothing was sent.
  ///
  /// Waits:    at most `limit`.
  /// Throws:   as send.
  template <class... V>
  [[nodiscard]] bool send_for(duration limit, V&&... values) const {
    return post(deadline_after(std::chrono::steady_clock::now(), limit), "address::send_for",
                std::forward<V>(values)...);
  }

  /// Sends a message of these values; what its handler returns there, or throws, is the answer. R must be the type that
  /// the handler returns. Never waits: if somebody else is putting into that mailbox just now, the message follows soon.
  ///
  /// Throws:   error{unencodable}, error{too_large}, error{out_of_resources}. All else comes through the future: what
  ///           the handler threw, error{deadline_exceeded}: no answer within `limit`; error{peer_died}: the process ended
  ///           before it answered; error{closed}: it had left before; error{overloaded}: its mailbox is full;
  ///           error{type_mismatch}: the handler returns another type.
  template <class R, class... V>
  mp::future<R> request(duration limit, V&&... values) const {
    auto state = detail::make_state<detail::request_state<R>>();
    auto& asked = *state;
    const detail::state_ptr<detail::future_state<R>> answer(std::move(state));
    detail::with_letter(
        [&](const detail::letter& what) {
          return detail::send_request(state_, what, limit, detail::answer_type<R>(), asked, answer);
        },
        std::forward<V>(values)...);
    return detail::future_access::make<R>(answer);
  }

private:
  friend struct detail::address_access;
  template <class... V>
  bool post(time_point until, const char* call, V&&... values) const {
    return detail::with_letter([&](const detail::letter& what) { return detail::send_mail(state_, what, until, call); },
                               std::forward<V>(values)...);
  }

  std::shared_ptr<detail::address_state> state_;
};

namespace detail {
/// How the library makes and reads addresses.
struct address_access {
  static address make(std::shared_ptr<address_state> state) {
    address a;
    a.state_ = std::move(state);
    return a;
  }
  static const std::shared_ptr<address_state>& state(const address& a) noexcept { return a.state_; }
};

template <>
struct handle_codec<address> {
  static constexpr std::uint64_t hash = hash_text("mp::address");
  static void encode(encoder&, const address&);
  static address decode(decoder&);
};
}  // namespace detail

}  // namespace mp
