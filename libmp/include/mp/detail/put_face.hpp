#pragma once
/// @file
/// What queue, sender and duplex_end have in common: putting.
/// Not to be named by users; its functions are theirs.
///
/// Shape:    `Derived` gives `put_side()`, the handle to put into, and `noun`, its name in messages.
/// Copies:   one, into the channel's memory: the item is never shared. A put that fails has taken nothing.
/// Threads:  as the derived class.   Processes: as the derived class.
/// Death:    a put throws closed when nobody is left who could get; peer_died if a pipe's receiver vanished. A put that
///           needs no system call may pass for a moment after that death, at most 256 of them in a row; what they
///           put is lost with the receiver. A put that waits learns of it within 20 ms.
/// Source:   doc/decisions/0006-channels.md.

#include "mp/detail/async.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/message.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/duration.hpp"

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace mp::detail {

/// How a put_operation makes its message of the item.
struct encoded_item {
  template <class T, class F>
  static op_status with(const T& item, F&& f) {
    return with_message(item, std::forward<F>(f));
  }
};

/// One async_put that is under way: it holds the item, and a handle that keeps the channel's end open.
template <class T, class Encode = encoded_item>
class put_operation final : public async_operation {
public:
  put_operation(completion_ptr<void(error_code)> done, handle to, T item)
      : done_(std::move(done)), to_(std::move(to)), item_(std::move(item)) {}

  // One past the channel's address: its two sides wait independently of each other.
  const void* group() const noexcept override { return reinterpret_cast<const std::byte*>(to_.shared().get()) + 1; }
  bool try_finish() noexcept override {
    try {
      detail::channel& c = *to_.shared();
      if (!c.ready(to_.as(), side::put)) return false;  // encode only when it may succeed
      const op_status status =
          Encode::with(item_, [&](const outgoing& out) { return c.put(to_.as(), out, time_point::min()); });
      if (status == op_status::timed_out) return false;
      abort(status == op_status::ok ? error_code()
                                    : to_boost(status == op_status::closed ? errc::closed : errc::peer_died));
    } catch (...) {
      abort(to_error_code(std::current_exception()));
    }
    return true;
  }
  // The one in front may wait as a sender, for which a whole handle here counts; for that handle itself nobody is left.
  bool try_end() noexcept override {
    try {
      const detail::channel& c = *to_.shared();
      if (!c.nobody_gets(to_.as()) || (to_.as() == role::whole && !c.full())) return false;
      abort(to_boost(errc::closed));
    } catch (...) {
      return false;  // it will be told when it is the first
    }
    return true;
  }
  int prepare() noexcept override {
    try {
      detail::channel& c = *to_.shared();
      return c.prepare_poll(to_.as(), side::put) ? at_once : c.poll_fd(side::put);
    } catch (...) {
      return none;
    }
  }
  void abort(const error_code& why) noexcept override {
    try {
      done_->post(why);
    } catch (...) {
      // No memory for the last word: the handler is dropped with the operation.
    }
  }

private:
  completion_ptr<void(error_code)> done_;
  handle to_;
  T item_;
};

template <class Derived, class T>
class put_face {
public:
  /// Puts one item.
  ///
  /// Waits:    until there is room (only a bounded channel can be full).
  /// Throws:   error{closed}, error{peer_died} (pipes), error{too_large}, error{unencodable},
  ///           error{would_deadlock} on the I/O thread: nothing was put and `item` is untouched.
  /// Order:    items of one producer arrive in the order of their puts.
  /// Cost:     one encode; a system call only if a consumer sleeps.
  void put(const T& item) const { static_cast<void>(give(item, never, "put")); }
  /// The same; handles inside the item are given away once it was put.
  void put(T&& item) const { static_cast<void>(give(std::move(item), never, "put")); }

  /// False: no room now, or another process is stopped in the middle of its own call (over a socket: the one that made
  /// the queue is). Throws: as put.
  [[nodiscard]] bool try_put(const T& item) const { return give(item, time_point::min(), "try_put"); }
  [[nodiscard]] bool try_put(T&& item) const { return give(std::move(item), time_point::min(), "try_put"); }

  /// False: no room within `limit`; the item is untouched.
  ///
  /// Waits:    at most `limit`.
  /// Throws:   as put.
  [[nodiscard]] bool put_for(const T& item, duration limit) const { return give_for(item, limit); }
  [[nodiscard]] bool put_for(T&& item, duration limit) const { return give_for(std::move(item), limit); }
  /// Waits:    until `when`.
  /// Throws:   as put.
  [[nodiscard]] bool put_until(const T& item, time_point when) const { return give(item, when, "put_until"); }
  [[nodiscard]] bool put_until(T&& item, time_point when) const { return give(std::move(item), when, "put_until"); }

  /// Puts all items in order; the number put.
  ///
  /// Waits:    for room, item by item.
  /// Throws:   as put and as the item's codec, if the first item could not be put; otherwise an error ends it and only
  ///           the number tells. What the range itself throws passes.
  template <std::ranges::input_range R>
  requires std::constructible_from<T, std::ranges::range_reference_t<R>> std::size_t put_many(R&& items)
  const {
    std::size_t count = 0;
    for (auto&& item : items) {
      const auto put_one = [&] {
        if constexpr (std::same_as<std::remove_cvref_t<decltype(item)>, T> && !is_given_away<T>)
          put(std::as_const(item));
        else if constexpr (is_given_away<T>)
          put(std::move(item));
        else
          put(T(std::forward<decltype(item)>(item)));
      };
      if (count == 0) {
        put_one();
      } else {
        try {
          put_one();
        } catch (...) {
          return count;
        }
      }
      ++count;
    }
    return count;
  }

  /// Puts the item when there is room; completes with (error_code). Returns at once.
  /// While it is under way this end stays open; cancelling it puts nothing.
  ///
  /// Throws:   error{closed} if the handle is closed; error{shut_down}, error{wrong_process}.
  template <class Token>
  auto async_put(T item, Token&& token) const {
    static_cast<void>(self().put_side().open_to_put(Derived::noun, "async_put"));
    return asio::async_initiate<Token, void(error_code)>(
        [](auto&& handler, detail::handle to, T what) {
          launch<put_operation<T>, void(error_code)>(std::forward<decltype(handler)>(handler), std::move(to),
                                                     std::move(what));
        },
        token, self().put_side(), std::move(item));
  }

protected:
  put_face() = default;
  put_face(const put_face&) = default;
  put_face(put_face&&) = default;
  put_face& operator=(const put_face&) = default;
  put_face& operator=(put_face&&) = default;
  ~put_face() = default;

private:
  static constexpr time_point never = time_point::max();

  const Derived& self() const noexcept { return static_cast<const Derived&>(*this); }

  bool give(const T& item, time_point until, const char* verb) const {
    static_assert(!is_given_away<T>,
                  "mp: this message holds a transferable handle (sender, receiver, connection, unique_fd ..): give it "
                  "away with put(std::move(item))");
    return give_encoded(item, until, verb);
  }
  bool give(T&& item, time_point until, const char* verb) const {
    const bool put = give_encoded(item, until, verb);
    if constexpr (contains_handle<T>)
      if (put) [[maybe_unused]]
        const T gone(std::move(item));
    return put;
  }
  bool give_encoded(const T& item, time_point until, const char* verb) const {
    const handle& to = self().put_side();
    detail::channel& c = to.open_to_put(Derived::noun, verb);
    const op_status status = with_message(item, [&](const outgoing& out) {
      if (!on_io_thread()) [[likely]]
        return c.put(to.as(), out, until);
      const op_status s = c.put(to.as(), out, time_point::min());
      if (s == op_status::timed_out && until != time_point::min()) check_may_wait(verb);
      return s;
    });
    if (status != op_status::ok && status != op_status::timed_out) [[unlikely]]
      throw_end(status, Derived::noun, verb);
    return status == op_status::ok;
  }
  template <class Item>
  bool give_for(Item&& item, duration limit) const {
    const bool may_wait = limit > duration();
    if (!may_wait || tries_at_once(self().put_side().open_to_put(Derived::noun, "put_for"))) {
      if (give(std::forward<Item>(item), time_point::min(), "put_for")) return true;
      if (!may_wait) return false;
    }
    return give(std::forward<Item>(item), deadline_after(std::chrono::steady_clock::now(), limit), "put_for");
  }
};

}  // namespace mp::detail
