#pragma once
/// @file
/// Every process has one mailbox, made at first use: whoever holds its address sends, the process receives, selectively.
///
/// Model:    Erlang's receive. Different: bounded, typed, between operating-system processes.
/// Shape:    a message is one or more values; a handler takes it if its parameters are exactly those types.
/// Copies:   one on send, one on receive.
/// Threads:  one receiving thread at a time.   Processes: each has its own.
/// Life:     a mailbox stays open as long as its process lives: a receive does not end because nobody is left to send.
/// Source:   doc/decisions/0008-mailboxes.md.
///
/// Example:  mp::receive([](int n, std::string text) { .. }, mp::after(1s) >> [] { .. });

#include "mp/address.hpp"
#include "mp/detail/async.hpp"
#include "mp/detail/mail.hpp"
#include "mp/duration.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace mp {

/// A message of whatever types; a handler that takes it fits all.
///
/// Threads:  a value; copies share the message.   Processes: process-bound.
class any_message {
public:
  any_message() noexcept = default;
  /// How many values it holds.
  std::size_t size() const { return mail_ ? mail_->types.size() : 0; }
  /// "int, std::string"; a type that this process never names in a send or a handler is "?".
  std::string type_names() const;
  /// Who sent it; nobody if the process that did is not known here (any more).
  mp::address sender() const;

private:
  friend class mailbox;
  friend struct mail_access;
  std::shared_ptr<detail::mail> mail_;
};

/// What to do when no message came in time; made by `mp::after(limit) >> function`.
template <class F>
struct timeout_handler {
  duration limit;
  F function;
};
struct after_clause {
  duration limit;
  template <class F>
  timeout_handler<std::decay_t<F>> operator>>(F&& function) const {
    return {limit, std::forward<F>(function)};
  }
};
/// The last argument of a receive: `mp::after(1s) >> [] { .. }`. A limit of zero looks once.
inline after_clause after(duration limit) { return {limit}; }

namespace detail {
template <class H>
inline constexpr bool is_timeout_handler = false;
template <class F>
inline constexpr bool is_timeout_handler<timeout_handler<F>> = true;

/// The oldest message that `fits`, others are left; null: none by `until`. Throws what a channel's get throws, and
/// error{out_of_resources}: as many messages as the mailbox holds lie there and fit nothing.
std::shared_ptr<mail> next_mail(bool (*fits)(void* context, const mail&), void* context, time_point until,
                                const char* call);
/// Sets who `mailbox::sender()` is while a handler runs.
class handling {
public:
  explicit handling(std::shared_ptr<mail> current);
  ~handling();
  handling(const handling&) = delete;
  handling& operator=(const handling&) = delete;

private:
  std::shared_ptr<mail> before_;
};
void async_next_mail(completion_ptr<void(error_code, any_message)>, asio::cancellation_slot);
}  // namespace detail

/// Not for users: the library's way into the classes here.
///
/// Threads:  static functions only.   Processes: static functions only.
struct mail_access {
  static any_message wrap(std::shared_ptr<detail::mail> m) {
    any_message a;
    a.mail_ = std::move(m);
    return a;
  }
  static const std::shared_ptr<detail::mail>& unwrap(const any_message& m) noexcept { return m.mail_; }
};

namespace detail {
template <class H>
struct mail_handler {
  static_assert(has_signature<std::decay_t<H>>,
                "mp: a handler of receive must have one signature: a function, or a lambda without auto parameters");
  template <class... P>
  static bool fits(types<P...>, const mail& m) {
    if constexpr (std::is_same_v<types<std::remove_cvref_t<P>...>, types<any_message>>)
      return true;
    else
      return holds<stored<P>...>(m);
  }
  template <class... P>
  static void call(types<P...>, H& handler, const std::shared_ptr<mail>& m) {
    if constexpr (std::is_same_v<types<std::remove_cvref_t<P>...>, types<any_message>>) {
      handle_mail(*m, [&]() -> decltype(auto) { return handler(mail_access::wrap(m)); });
    } else {
      handle_mail(*m, [&]() -> decltype(auto) {
        auto values = open_mail<stored<P>...>(*m);
        return std::apply(
            [&](auto&... v) -> std::decay_t<decltype(handler(as_parameter<P>(v)...))> {
              return handler(as_parameter<P>(v)...);
            },
            values);
      });
    }
  }
  using parameters = typename parameters_of<std::decay_t<H>>::type;
};
}  // namespace detail

/// This process's own mailbox: `mailbox{}`.
///
/// Threads:  one receiving thread at a time; address() is thread-safe.   Processes: process-bound.
class mailbox {
public:
  mailbox() noexcept = default;
  /// Where others send to reach us. Throws error{out_of_resources} (made at first use).
  mp::address address() const;
  /// Who sent the message that is being handled on this thread; nobody outside of a handler.
  mp::address sender() const;

  /// Takes the oldest message that fits a handler, leaves the others, and calls the handler with its values. What it
  /// returns answers a request (else it is dropped); what it throws goes to who asked, or, if nobody did, leaves receive. The last argument may be `mp::after(limit) >> function`.
  ///
  /// Waits:    for one message that fits, or until the after clause's limit is over (then its function is called).
  /// Throws:   error{undecodable}; error{out_of_resources}: the mailbox is full of messages that fit no handler.
  template <class... H>
  void receive(H&&... handlers) const {
    receive_until(time_point::max(), "mailbox::receive", handlers...);
  }
  /// The same, but never waits. False: nothing there fits.
  ///
  /// Throws:   as receive.
  template <class... H>
  [[nodiscard]] bool try_receive(H&&... handlers) const {
    return receive_until(time_point::min(), "mailbox::try_receive", handlers...);
  }
  /// The same. False: nothing came that fits.
  ///
  /// Waits:    at most `limit`.
  /// Throws:   as receive.
  template <class... H>
  [[nodiscard]] bool receive_for(duration limit, H&&... handlers) const {
    return receive_until(deadline_after(std::chrono::steady_clock::now(), limit), "mailbox::receive_for", handlers...);
  }
  /// Completes with the oldest message, whatever its types. Cancelling takes none.
  ///
  /// Throws:   error{out_of_resources}: no I/O thread.
  template <class Token>
  auto async_receive(Token&& token) const {
    return asio::async_initiate<Token, void(error_code, any_message)>(
        [](auto handler) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          detail::async_next_mail(detail::make_completion<void(error_code, any_message)>(std::move(handler)), slot);
        },
        token);
  }
  /// How many messages may lie here before senders wait; 10,000 by default.
  ///
  /// Throws:   error{invalid_argument}: not positive.
  void set_bound(std::ptrdiff_t messages);

private:
  template <class... H>
  static bool receive_until(time_point until, const char* call, H&... handlers) {
    static_assert(sizeof...(H) > 0, "mp: receive needs a handler");
    const auto limit = [&until](auto& h) {
      if constexpr (detail::is_timeout_handler<std::remove_cvref_t<decltype(h)>>)
        until = std::min(until, deadline_after(std::chrono::steady_clock::now(), h.limit));
    };
    (limit(handlers), ...);
    const auto found = detail::next_mail(
        [](void*, const detail::mail& m) { return (fits<std::remove_cvref_t<H>>(m) || ...); }, nullptr, until, call);
    if (!found) {
      const auto expire = [](auto& h) {
        if constexpr (detail::is_timeout_handler<std::remove_cvref_t<decltype(h)>>) h.function();
      };
      (expire(handlers), ...);
      return false;
    }
    const detail::handling current(found);
    bool done = false;
    (call_if_fits(handlers, found, done), ...);
    return true;
  }
  template <class H>
  static bool fits(const detail::mail& m) {
    if constexpr (detail::is_timeout_handler<H>)
      return false;
    else
      return detail::mail_handler<H>::fits(typename detail::mail_handler<H>::parameters{}, m);
  }
  template <class H>
  static void call_if_fits(H& handler, const std::shared_ptr<detail::mail>& m, bool& done) {
    using plain = std::remove_cvref_t<H>;
    if constexpr (!detail::is_timeout_handler<plain>) {
      if (done || !fits<plain>(*m)) return;
      done = true;
      detail::mail_handler<H>::call(typename detail::mail_handler<plain>::parameters{}, handler, m);
    }
  }
};

/// `mailbox{}.receive(handlers...)`.
///
/// Waits:    as mailbox::receive.
/// Throws:   as mailbox::receive.
template <class... H>
void receive(H&&... handlers) {
  mailbox{}.receive(std::forward<H>(handlers)...);
}

}  // namespace mp
