#pragma once
/// @file
/// What queue, receiver and duplex_end have in common: getting.
/// Not to be named by users; its functions are theirs.
///
/// Shape:    `Derived` gives `get_side()`, the handle to get from, and `noun`, its name in messages.
/// Copies:   one, from where the message lies into the object that get returns.
/// Threads:  as the derived class.   Processes: as the derived class.
/// Death:    at the end of a channel get throws closed; a pipe whose sender vanished gives what was sent completely,
///           then throws peer_died.
/// Source:   doc/decisions/0006-channels.md.

#include "mp/channel_options.hpp"
#include "mp/detail/async.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/message.hpp"
#include "mp/duration.hpp"

#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace mp {

/// An item that was in the hand of a consumer when it died.
///
/// Threads:  a value.   Processes: copied.
template <class T>
struct lost_item {
  T item{};
  std::uint64_t id = 0;  ///< unique in its queue
  pid_t consumer = 0;
  std::string consumer_name{};
};

namespace detail {

/// A message of a batch that could not be read after others could: the next get throws it, so that nothing is lost.
///
/// Threads:  thread-safe.   Processes: process-bound.
class parked_error {
public:
  parked_error() noexcept = default;
  parked_error(const parked_error&) noexcept {}  // a copy of a handle is another handle
  parked_error(parked_error&& other) noexcept : error_(other.error_.exchange(nullptr)) {}
  parked_error& operator=(const parked_error&) noexcept { return *this; }
  parked_error& operator=(parked_error&& other) noexcept {
    delete error_.exchange(other.error_.exchange(nullptr));
    return *this;
  }
  ~parked_error() { delete error_.load(std::memory_order_relaxed); }

  void park(std::exception_ptr e) { delete error_.exchange(new std::exception_ptr(std::move(e))); }
  void throw_if_any() {
    if (error_.load(std::memory_order_relaxed)) [[unlikely]] {
      const std::unique_ptr<std::exception_ptr> e(error_.exchange(nullptr));
      if (e) std::rethrow_exception(*e);
    }
  }

private:
  std::atomic<std::exception_ptr*> error_{nullptr};
};

/// One async_get that is under way. Its handle keeps the channel's end open until it is done.
///
/// Threads:  safe, it belongs to the I/O thread.   Processes: process-bound.
template <class T, T (*Read)(incoming&&) = &from_message<T>>
class get_operation final : public async_operation {
public:
  get_operation(completion_ptr<void(error_code, T)> done, handle from)
      : done_(std::move(done)), from_(std::move(from)) {}

  const void* group() const noexcept override { return from_.shared().get(); }
  bool try_finish() noexcept override {
    try {
      std::optional<T> item;
      std::size_t taken = 0;
      const op_status status = from_.shared()->get(
          from_.as(), 1,
          [](void* context, incoming&& in) { static_cast<std::optional<T>*>(context)->emplace(Read(std::move(in))); },
          &item, time_point::min(), taken);
      if (status == op_status::timed_out) return false;
      if (status == op_status::ok)
        done_->post({}, std::move(*item));
      else
        abort(to_boost(status == op_status::closed ? errc::closed : errc::peer_died));
    } catch (...) {
      abort(to_error_code(std::current_exception()));
    }
    return true;
  }
  int prepare() noexcept override {
    try {
      detail::channel& c = *from_.shared();
      return c.prepare_poll(from_.as(), side::get) ? at_once : c.poll_fd(side::get);
    } catch (...) {
      return none;
    }
  }
  void abort(const error_code& why) noexcept override {
    try {
      done_->post(why, T{});
    } catch (...) {
      // No memory for the last word: the handler is dropped with the operation.
    }
  }

private:
  completion_ptr<void(error_code, T)> done_;
  handle from_;
};

/// A single-pass range over a channel: `++it` never waits, `it == end` and `*it` do.
///
/// Threads:  thread-bound.   Processes: process-bound.
template <class Face, class T>
class get_iterator {
public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  get_iterator() noexcept = default;
  explicit get_iterator(const Face& from) noexcept : from_(&from) {}

  /// Waits:    for the item, if `== end` has not done so.
  /// Throws:   error{closed}, error{peer_died}, error{undecodable}.
  T& operator*() const {
    if (!item_) item_.emplace(from_->get());
    return *item_;
  }
  get_iterator& operator++() {
    if (!item_) static_cast<void>(**this);
    item_.reset();
    return *this;
  }
  void operator++(int) { ++*this; }
  /// Waits:    for the next item or the end.
  /// Throws:   error{peer_died}, error{undecodable}.
  friend bool operator==(const get_iterator& it, std::default_sentinel_t) { return it.at_end(); }

private:
  bool at_end() const {
    if (item_) return false;
    item_ = from_->get_unless_closed();
    return !item_;
  }
  const Face* from_ = nullptr;
  mutable std::optional<T> item_;
};

/// What queue, receiver and duplex_end have in common: they get.
///
/// Threads:  as the handle it is a part of.   Processes: as the handle it is a part of.
template <class Derived, class T>
class get_face {
public:
  /// Takes the oldest item.
  ///
  /// Waits:    until there is one.
  /// Throws:   error{closed} at the end, error{peer_died} (pipes), error{undecodable}: the item is consumed;
  ///           error{would_deadlock} on the I/O thread; error{wrong_process}.
  /// Order:    items of one producer come in the order of their puts.
  /// Cost:     no system call while items are there.
  T get() const {
    if constexpr (is_bulk<T> && std::is_trivially_default_constructible_v<T>) {
      T item;  // written where it is returned: copies of copies would cost as much as the channel
      take_into(&put_plain, &item, never, "get");
      return item;
    } else {
      std::optional<T> item = take(never, "get");
      return std::move(*item);
    }
  }
  /// The oldest item, if there is one now. Nothing also while another process is stopped in the middle of its own call,
  /// or, over a socket, the one that made the queue is. Throws: as get.
  std::optional<T> try_get() const { return take(time_point::min(), "try_get"); }
  /// Waits:    at most `limit`.
  /// Throws:   as get.
  std::optional<T> get_for(duration limit) const {
    const bool may_wait = limit > duration();
    if (!may_wait || tries_at_once(self().get_side().open(Derived::noun, "get_for"))) {
      std::optional<T> item = take(time_point::min(), "get_for");
      if (item || !may_wait) return item;
    }
    return take(deadline_after(std::chrono::steady_clock::now(), limit), "get_for");
  }
  /// Waits:    until `when`.
  /// Throws:   as get.
  std::optional<T> get_until(time_point when) const { return take(when, "get_until"); }

  /// Takes what is there, at most `most` items, at least one. It may leave some: what it took is in hand together.
  ///
  /// Waits:    for the first item.
  /// Throws:   as get; error{invalid_argument}: `most` is negative.
  std::vector<T> get_many(std::ptrdiff_t most) const { return take_many(most, never, "get_many"); }
  /// The same, maybe none. Throws: as get_many.
  std::vector<T> try_get_many(std::ptrdiff_t most) const { return take_many(most, time_point::min(), "try_get_many"); }

  /// Takes the oldest item when there is one; completes with (error_code, T). Returns at once.
  /// While it is under way this end stays open, whatever becomes of the handle; cancelling it takes no item.
  ///
  /// Throws:   error{closed} if the handle is closed; error{shut_down}, error{wrong_process}.
  template <class Token>
  auto async_get(Token&& token) const {
    static_assert(std::default_initializable<T>,
                  "mp: async_get completes with (error_code, T), so T needs a default constructor");
    static_cast<void>(self().get_side().open(Derived::noun, "async_get"));
    return asio::async_initiate<Token, void(error_code, T)>(
        [](auto&& handler, detail::handle from) {
          launch<get_operation<T>, void(error_code, T)>(std::forward<decltype(handler)>(handler), std::move(from));
        },
        token, self().get_side());
  }

  /// A single-pass range until closed. Never waits; its iterator does.
  get_iterator<get_face, T> begin() const { return get_iterator<get_face, T>(*this); }
  std::default_sentinel_t end() const { return {}; }

protected:
  get_face() = default;
  get_face(const get_face&) = default;
  get_face(get_face&&) = default;
  get_face& operator=(const get_face&) = default;
  get_face& operator=(get_face&&) = default;
  ~get_face() = default;

  std::vector<lost_item<T>> take_lost_items() const {
    detail::channel& c = self().get_side().open(Derived::noun, "take_lost");
    std::vector<lost_item<T>> all;
    c.take_lost(
        [](void* context, lost_message&& m) {
          const std::uint64_t id = m.item.id;
          static_cast<std::vector<lost_item<T>>*>(context)->push_back(
              {from_message<T>(std::move(m.item)), id, m.consumer, std::move(m.consumer_name)});
        },
        &all);
    return all;
  }

private:
  friend class get_iterator<get_face, T>;
  static constexpr time_point never = time_point::max();

  const Derived& self() const noexcept { return static_cast<const Derived&>(*this); }

  static void put_one(void* context, incoming&& in) {
    static_cast<std::optional<T>*>(context)->emplace(from_message<T>(std::move(in)));
  }
  static void put_plain(void* context, incoming&& in) { *static_cast<T*>(context) = from_message<T>(std::move(in)); }
  struct many {
    std::vector<T> items;
    std::exception_ptr failed;
    static void put(void* context, incoming&& in) {
      auto& m = *static_cast<many*>(context);
      try {
        m.items.push_back(from_message<T>(std::move(in)));
      } catch (...) {
        m.failed = std::current_exception();
        throw;
      }
    }
  };

  // On the I/O thread only what does not wait may succeed.
  op_status wait_and_get(std::size_t most, deliver fn, void* context, time_point until, const char* verb,
                         std::size_t& taken) const {
    const handle& from = self().get_side();
    detail::channel& c = from.open(Derived::noun, verb);
    parked_.throw_if_any();
    if (!on_io_thread()) [[likely]]
      return c.get(from.as(), most, fn, context, until, taken);
    const op_status status = c.get(from.as(), most, fn, context, time_point::min(), taken);
    if (status == op_status::timed_out && until != time_point::min()) check_may_wait(verb);
    return status;
  }

  void take_into(deliver fn, void* context, time_point until, const char* verb) const {
    std::size_t taken = 0;
    const op_status status = wait_and_get(1, fn, context, until, verb, taken);
    if (status != op_status::ok && status != op_status::timed_out) [[unlikely]]
      throw_end(status, Derived::noun, verb);
  }
  std::optional<T> take(time_point until, const char* verb) const {
    std::optional<T> item;
    take_into(&put_one, &item, until, verb);
    return item;
  }

  std::optional<T> get_unless_closed() const {
    std::optional<T> item;
    std::size_t taken = 0;
    const op_status status = wait_and_get(1, &put_one, &item, never, "get", taken);
    if (status == op_status::peer_died) throw_end(status, Derived::noun, "get");
    return item;
  }

  std::vector<T> take_many(std::ptrdiff_t most, time_point until, const char* verb) const {
    const std::size_t limit = checked_count(most, Derived::noun, verb);
    many result;
    std::size_t taken = 0;
    if (limit == 0) return {};
    try {
      const op_status status = wait_and_get(limit, &many::put, &result, until, verb, taken);
      if (status != op_status::ok && status != op_status::timed_out) throw_end(status, Derived::noun, verb);
    } catch (...) {
      if (!result.failed || result.items.empty()) throw;
      parked_.park(result.failed);  // what was read goes out first
    }
    return std::move(result.items);
  }

  mutable parked_error parked_;
};

}  // namespace detail
}  // namespace mp
