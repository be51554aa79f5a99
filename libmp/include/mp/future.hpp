#pragma once
/// @file
/// The answer of something that runs elsewhere: a pool's task, a request to another process.
///
/// Model:    std::future; different: wait_for gives a bool, the work can be cancelled, a continuation or any
///           Boost.Asio token can take the answer, and the destructor never waits.
/// Threads:  thread-compatible.      Processes: process-bound.
/// Life:     outlives the pool that gave it. Dropping it drops the answer; the work goes on.
/// Death:    when the process that works dies, get throws what is known of it.
/// Source:   doc/decisions/0009-pools.md.
///
/// Example:  samples/05_crash.cpp

#include "mp/detail/async.hpp"
#include "mp/detail/future_combine.hpp"
#include "mp/detail/future_hooks.hpp"
#include "mp/detail/future_state.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/duration.hpp"
#include "mp/error.hpp"

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp {

/// What the forms of get that may come back without an answer give.
template <class R>
using maybe = std::conditional_t<std::is_void_v<R>, bool, std::optional<R>>;

/// One answer, to be taken once.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R>
class [[nodiscard]] future {
public:
  /// No answer will come: valid() is false.
  future() noexcept = default;
  future(future&&) noexcept = default;
  future& operator=(future&& other) noexcept {
    future old(std::move(*this));
    state_ = std::move(other.state_);
    return *this;
  }
  /// Drops the answer and does not wait; the work still runs (cancel() stops it).
  ~future() {
    if (state_) state_->abandon();
  }

  /// Is there an answer to wait for or to take?
  bool valid() const noexcept { return static_cast<bool>(state_); }
  /// Would get not wait? Throws: error{closed} if not valid.
  bool ready() const { return open("future::ready")->wait_until(time_point::min()); }

  /// Takes the answer.
  ///
  /// Waits:    until it is there; get_for and get_until at most so long: nullopt (false, for void), and it can be asked
  ///           again.
  /// Throws:   what the task threw, worker_died, error{cancelled}, error{deadline_exceeded}, error{undecodable},
  ///           error{pool_closed}, error{pool_broken}; error{closed} if not valid; error{would_deadlock} on the I/O
  ///           thread; error{wrong_process} in a copy of the process made by fork, if it was not there before.
  R get() {
    static_cast<void>(await(time_point::max(), "future::get"));
    return take_now();
  }
  maybe<R> get_for(duration limit) { return get_until(deadline_after(std::chrono::steady_clock::now(), limit)); }
  maybe<R> get_until(time_point when) { return take_if(await(when, "future::get_for")); }
  /// The answer, if it is there now. Throws: as get.
  maybe<R> try_get() { return take_if(await(time_point::min(), "future::try_get")); }

  /// Waits:    until the answer is there; wait_for and wait_until at most so long: false.
  /// Throws:   error{closed} if not valid; error{would_deadlock} on the I/O thread.
  void wait() const { static_cast<void>(await(time_point::max(), "future::wait")); }
  bool wait_for(duration limit) const { return wait_until(deadline_after(std::chrono::steady_clock::now(), limit)); }
  bool wait_until(time_point when) const { return await(when, "future::wait_for"); }

  /// Asks that the work be stopped; never waits. False: it is done already, or cannot be stopped. What the work still
  /// returns within its grace is its answer, else get throws error{cancelled}.
  /// Throws:   error{closed} if not valid.
  bool cancel() { return open("future::cancel")->cancel(); }

  /// Completes with (exception_ptr[, R]), and takes the answer: valid() is false from here on. Cancelling the wait
  /// cancels the work. Throws: error{closed} if not valid; error{shut_down}, error{wrong_process}.
  template <class Token>
  auto async_get(Token&& token) {
    if constexpr (!std::is_void_v<R>)
      static_assert(std::default_initializable<R>,
                    "mp: async_get completes with (exception_ptr, R), so R needs a default constructor");
    using signature = typename detail::async_signature<R>::type;
    return asio::async_initiate<Token, signature>(
        [](auto handler, detail::state_ptr<detail::future_state<R>> state) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          auto hook =
              std::make_unique<detail::completion_hook<R>>(detail::make_completion<signature>(std::move(handler)));
          if (slot.is_connected())
            slot.assign([state](asio::cancellation_type type) {
              if (type != asio::cancellation_type::none) state->cancel();
            });
          state->on_ready(std::move(hook));
        },
        token, detail::future_access::take(*this, "future::async_get"));
  }

  /// Runs `f(R)` when the answer is there, on the library's I/O thread (then it must not block) or on `where`, any
  /// executor of Boost.Asio's; takes the answer: valid() is false from here on. An error passes `f` by and is the error of the future that comes back.
  /// Throws:   error{closed} if not valid; error{shut_down}.
  template <class F>
  auto then(F f) -> future<detail::continuation_t<F, R>> {
    return then(detail::io_thread_ref(), std::move(f));
  }
  template <class Executor, class F>
  auto then(Executor where, F f) -> future<detail::continuation_t<F, R>> {
    using next = detail::continuation_t<F, R>;
    auto state = detail::future_access::take(*this, "future::then");
    detail::promise<next, detail::chained_state<next>> answer(detail::make_state<detail::chained_state<next>>(state));
    auto result = detail::future_access::make<next>(answer.state());
    using hook = detail::then_hook<R, next, Executor, F>;
    state->on_ready(std::make_unique<hook>(std::move(where), std::move(answer), std::move(f)));
    return result;
  }

  /// For mp::wait. Throws: error{closed} if not valid.
  detail::pollable& get_pollable() const { return *open("wait"); }

  /// The task's number; 0 if it is none. Throws: error{closed} if not valid.
  task_id id() const { return open("future::id")->id(); }
  /// What the task last said of itself. Throws: error{closed} if not valid.
  std::optional<progress_report> progress() const { return open("future::progress")->progress(); }

private:
  friend detail::future_access;
  explicit future(detail::state_ptr<detail::future_state<R>> state) noexcept : state_(std::move(state)) {}

  const detail::state_ptr<detail::future_state<R>>& open(const char* what) const {
    if (!state_) [[unlikely]]
      detail::throw_no_future(what);
    return state_;
  }
  // On the I/O thread only what does not wait may succeed.
  bool await(time_point until, const char* what) const {
    auto& state = *open(what);
    if (state.is_ready()) return true;
    state.check_process(what);
    if (until != time_point::min() && detail::on_io_thread()) detail::check_may_wait(what);
    return state.wait_until(until);
  }
  R take_now() {
    const auto state = std::move(state_);
    if constexpr (std::is_void_v<R>)
      state->take();
    else
      return state->take();
  }
  maybe<R> take_if(bool is_ready) {
    if (!is_ready) return maybe<R>{};
    if constexpr (std::is_void_v<R>)
      return take_now(), true;
    else
      return maybe<R>(take_now());
  }

  detail::state_ptr<detail::future_state<R>> state_;
};

/// All answers, once all have ended: then the values, or the first error by position. Cancelling it cancels all.
///
/// Throws:   error{closed} if one is not valid.
template <class... R>
auto when_all(future<R>... f) -> future<std::tuple<detail::unit_for_void<R>...>> {
  return detail::gather<std::tuple<detail::unit_for_void<R>...>>(
      std::tuple{detail::future_access::take(f, "when_all")...}, sizeof...(R));
}
template <class R>
auto when_all(std::vector<future<R>> f) -> future<std::vector<detail::unit_for_void<R>>> {
  std::vector<detail::state_ptr<detail::future_state<R>>> parts;
  parts.reserve(f.size());
  for (auto& one : f) parts.push_back(detail::future_access::take(one, "when_all"));
  const std::size_t count = parts.size();
  return detail::gather<std::vector<detail::unit_for_void<R>>>(std::move(parts), count);
}

/// The futures again, as soon as one is ready, and which one it is. Cancelling it cancels all.
///
/// Throws:   error{invalid_argument}: none is given; error{closed}: one is not valid.
template <class R>
auto when_any(std::vector<future<R>> f) -> future<when_any_result<R>> {
  if (f.empty()) detail::throw_error(errc::invalid_argument, "when_any: give it at least one future");
  auto state = detail::make_state<detail::any_state<R>>(std::move(f));
  state->watch();
  return detail::future_access::make<when_any_result<R>>(std::move(state));
}

/// The futures of a vector, array or span in the order in which they end. Borrows them; they must not move meanwhile.
///
/// Throws:   error{closed} if one is not valid.
template <std::ranges::contiguous_range Range>
auto as_completed(Range& futures) -> completed_range<std::ranges::range_value_t<Range>> {
  return completed_range<std::ranges::range_value_t<Range>>(std::ranges::data(futures), std::ranges::size(futures));
}

}  // namespace mp
