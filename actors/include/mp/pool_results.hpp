#pragma once
/// @file
/// What a pool's lazy calls give: results one by one, and outcomes that hold a result or an error.
///
/// Model:    the iterator of Python's Pool.imap; different: an error does not end it, and it stops its producer.
/// Copies:   results are decoded once, where they arrive or where they are taken.
/// Threads:  one thread at a time.   Processes: process-bound.
/// Life:     letting go of results stops reading and cancels what is under way.
/// Death:    an item whose worker died is an error in its place; the others come.
/// Source:   doc/decisions/0009-pools.md.
///
/// Example:  samples/05_crash.cpp

#include "mp/detail/async.hpp"
#include "mp/detail/pool_listen.hpp"
#include "mp/detail/pool_stream.hpp"
#include "mp/duration.hpp"
#include "mp/error.hpp"
#include "mp/future.hpp"
#include "mp/remote_error.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace mp {

/// What became of input number `index`: a value or an error. Inputs are counted from 0, in the order in which they were
/// read. An error is one of three: the task threw (`failure`), its worker died or was ended (`post_mortem`), or it never
/// began (`code` alone: cancelled, deadline_exceeded, pool_broken ..).
///
/// Threads:  a value.   Processes: process-bound.
template <class R>
struct outcome {
  std::size_t index = 0;

  outcome() = default;
  explicit outcome(detail::stream_item<R>&& item) : index(static_cast<std::size_t>(item.index)) {
    try {
      value_.emplace(item.take());
    } catch (...) {
      problem_ = std::current_exception();
      detail::explain(problem_, failure_, post_mortem_, code_);
    }
  }

  /// Is there a value?
  explicit operator bool() const noexcept { return value_.has_value(); }
  /// The value. Throws: what get() would have thrown.
  decltype(auto) operator*() const {
    if (problem_) std::rethrow_exception(problem_);
    if constexpr (!std::is_void_v<R>) return static_cast<const detail::unit_for_void<R>&>(*value_);
  }
  R value() && {
    if (problem_) std::rethrow_exception(problem_);
    if constexpr (!std::is_void_v<R>) return std::move(*value_);
  }
  /// Of what the task threw; null: it threw nothing.
  const mp::failure* failure() const noexcept { return failure_ ? &*failure_ : nullptr; }
  /// Of the worker; null: it lives.
  const mp::post_mortem* post_mortem() const noexcept { return post_mortem_ ? &*post_mortem_ : nullptr; }
  /// Zero: there is a value.
  std::error_code code() const noexcept { return code_; }

private:
  std::optional<detail::unit_for_void<R>> value_;
  std::exception_ptr problem_;
  std::optional<mp::failure> failure_;
  std::optional<mp::post_mortem> post_mortem_;
  std::error_code code_;
};

/// A single-pass range of results: of an imap, which is read while it runs. Whoever takes a result also reads the input
/// and collects for everybody who waits at the same pool; nothing happens while nobody asks, but what is under way goes on.
/// Must not outlive a borrowed input, and may outlive its pool: then what had no answer ends with error{cancelled}.
///
/// A span (of a task that returns one) shows its elements until the next result is asked for, `++it` included.
///
/// Order:    as the call says. Each item comes once, as a result or as an error.
///
/// Threads:  one thread at a time.   Processes: process-bound.
template <class R>
class [[nodiscard]] results {
  using source = detail::stream<typename detail::streamed<R>::result>;

public:
  using value_type = detail::unit_for_void<R>;

  /// Of a pool's lazy call.
  explicit results(std::unique_ptr<source> from) noexcept : from_(std::move(from)) {}
  results(results&&) noexcept = default;
  results& operator=(results&&) noexcept = default;
  /// Stops early: reads no more input, cancels what is queued or running; does not wait.
  ~results() = default;

  /// The next result; an item's error is thrown in its place, and the next get goes on behind it.
  ///
  /// Waits:    for it; get_for at most `limit`: nullopt (false for void).
  /// Throws:   the item's error; error{closed} at the end; what the input threw, at its end.
  R get() {
    bool at_end = false;
    auto item = next(time_point::max(), at_end);
    if (!item) throw_end();
    return detail::streamed<R>::take(std::move(*item));
  }
  maybe<R> get_for(duration limit) {
    bool at_end = false;
    auto item = next(deadline_after(std::chrono::steady_clock::now(), limit), at_end);
    if (at_end) throw_end();
    if (!item) return maybe<R>{};
    if constexpr (std::is_void_v<R>)
      return detail::streamed<R>::take(std::move(*item)), true;
    else
      return maybe<R>(detail::streamed<R>::take(std::move(*item)));
  }

  /// Completes with (exception_ptr[, R]): the next result, its error, or error{closed} at the end. Whoever calls it reads
  /// the input, never the I/O thread by itself; one at a time. Cancelling the wait ends it with error{cancelled}, and
  /// takes no result.
  /// Throws:   error{shut_down}, error{wrong_process}.
  template <class Token>
  auto async_get(Token&& token) {
    static_assert(!detail::is_span_result<R>,
                  "mp: a span shows a result until the next one is asked for, which async_get cannot know; use get, or "
                  "return a vector");
    if constexpr (!std::is_void_v<R>)
      static_assert(std::default_initializable<R>,
                    "mp: async_get completes with (exception_ptr, R), so R needs a default constructor");
    using completes = detail::item_completion<R>;
    using signature = typename completes::signature;
    return asio::async_initiate<Token, signature>(
        [](auto handler, results* self) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          auto done = std::make_unique<completes>(detail::make_completion<signature>(std::move(handler)));
          std::uint64_t number = 0;
          if (!self->begin_get(std::move(done), number) || !slot.is_connected()) return;
          slot.assign([state = self->from_->state(), number](asio::cancellation_type type) {
            if (type != asio::cancellation_type::none) state->stop_listening(number);
          });
        },
        token, this);
  }

  /// `++it` never waits, `it == end` and `*it` do; `*it` throws the item's error, and `++it` goes on behind it.
  ///
  /// Threads:  one thread at a time.   Processes: process-bound.
  class iterator {
  public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = results::value_type;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(results& from) noexcept : from_(&from) {}
    /// Throws:   the item's error; what the input threw.
    value_type& operator*() const {
      load();
      if (!value_) {
        if constexpr (std::is_void_v<R>) {
          detail::streamed<R>::take(std::move(*item_));
          value_.emplace();
        } else {
          value_.emplace(detail::streamed<R>::take(std::move(*item_)));
        }
      }
      return *value_;
    }
    iterator& operator++() {
      load();
      item_.reset();
      if constexpr (std::is_same_v<R, typename detail::streamed<R>::result>)
        if constexpr (detail::reusable<R>)
          if (value_) from_->from_->state()->take_back(*value_);
      if constexpr (detail::is_span_result<R>) from_->from_->let_go();
      value_.reset();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) {
      it.load();
      return !it.item_;
    }

  private:
    void load() const {
      bool at_end = false;
      if (!item_) item_ = from_->next(time_point::max(), at_end);
    }
    results* from_ = nullptr;
    mutable std::unique_ptr<detail::stream_item<typename detail::streamed<R>::result>> item_;
    mutable std::optional<value_type> value_;
  };
  iterator begin() { return iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

private:
  // False: it was completed at once.
  bool begin_get(std::unique_ptr<detail::item_completion<R>> done, std::uint64_t& number) {
    detail::item_completion<R>& told = *done;
    std::unique_ptr<detail::stream_listener<typename detail::streamed<R>::result>> who(std::move(done));
    try {
      for (;;) {
        if (!from_) throw_end();
        bool at_end = false;
        if (auto item = from_->next(time_point::min(), at_end)) {
          told.told(std::move(item));
          return false;
        }
        if (at_end) throw_end();
        if (from_->listen(who, number)) return true;
      }
    } catch (...) {
      told.fail(std::current_exception());
    }
    return false;
  }
  auto next(time_point until, bool& at_end) {
    if (!from_) throw_end();
    detail::check_may_wait("results::get");
    return from_->next(until, at_end);
  }
  [[noreturn]] static void throw_end() { detail::throw_error(errc::closed, "results::get: there are no more"); }

  std::unique_ptr<source> from_;
};

}  // namespace mp
