#pragma once
/// @file
/// What hangs on a future: continuations and completion handlers, and the way from a future to its state.
/// Not for users: <mp/future.hpp> is their way in.
///
/// Threads:  see each class.         Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/async.hpp"
#include "mp/detail/future_state.hpp"

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace mp {

template <class R>
class future;

namespace detail {

/// error{closed}: there is no answer to take.
[[noreturn]] void throw_no_future(const char* what);

template <class F, class R>
struct continuation {
  using type = std::decay_t<std::invoke_result_t<F, R>>;
};
template <class F>
struct continuation<F, void> {
  using type = std::decay_t<std::invoke_result_t<F>>;
};
template <class F, class R>
using continuation_t = typename continuation<F, R>::type;

template <class R>
struct async_signature {
  using type = void(std::exception_ptr, R);
};
template <>
struct async_signature<void> {
  using type = void(std::exception_ptr);
};

/// The way from a future to its state and back, for the types that make futures.
///
/// Threads:  static functions only.   Processes: static functions only.
struct future_access {
  template <class R>
  static future<R> make(state_ptr<future_state<R>> state) noexcept {
    return future<R>(std::move(state));
  }
  template <class R>
  static const state_ptr<future_state<R>>& state(const future<R>& f, const char* what) {
    return f.open(what);
  }
  template <class R>
  static state_ptr<future_state<R>> take(future<R>& f, const char* what) {
    static_cast<void>(f.open(what));
    return std::move(f.state_);
  }
};

/// A state that depends on another one: cancelling it cancels that.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class R>
class chained_state final : public future_state<R> {
public:
  explicit chained_state(state_ptr<future_base> source) noexcept : source_(std::move(source)) {}
  bool cancel() override { return !this->is_ready() && source_->cancel(); }
  task_id id() const noexcept override { return source_->id(); }
  std::optional<progress_report> progress() const override { return source_->progress(); }

private:
  const state_ptr<future_base> source_;
};

/// Runs a continuation on its executor when the source is ready.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R, class Next, class Executor, class F>
class then_hook final : public ready_hook {
public:
  then_hook(Executor where, promise<Next, chained_state<Next>> answer, F f)
      : where_(std::move(where)), answer_(std::move(answer)), f_(std::move(f)) {}

  void ready(future_base& base) noexcept override {
    std::exception_ptr problem;
    try {
      post_to(where_, [source = state_ptr<future_state<R>>::share(static_cast<future_state<R>*>(&base)),
                       answer = std::move(answer_), f = std::move(f_)]() mutable { run(*source, answer, f); });
    } catch (...) {
      problem = std::current_exception();
    }
    if (problem) answer_.set_error(std::move(problem));
  }

private:
  // An exception is given away after its catch block: whoever takes it is its only owner, and frees it.
  static void run(future_state<R>& source, promise<Next, chained_state<Next>>& answer, F& f) noexcept {
    std::exception_ptr problem;
    try {
      const auto call = [&]() -> decltype(auto) {
        if constexpr (std::is_void_v<R>) {
          source.take();
          return std::move(f)();
        } else {
          return std::move(f)(source.take());
        }
      };
      if constexpr (std::is_void_v<Next>) {
        call();
        answer.set_value();
      } else {
        answer.set_value(call());
      }
    } catch (...) {
      problem = std::current_exception();
    }
    if (problem) answer.set_error(std::move(problem));
  }

  Executor where_;
  promise<Next, chained_state<Next>> answer_;
  F f_;
};

/// Completes a handler when the state is ready.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R>
class completion_hook final : public ready_hook {
public:
  explicit completion_hook(completion_ptr<typename async_signature<R>::type> done) noexcept : done_(std::move(done)) {}

  void ready(future_base& base) noexcept override {
    auto& state = static_cast<future_state<R>&>(base);
    try {
      if constexpr (std::is_void_v<R>) {
        std::exception_ptr problem;
        try {
          state.take();
        } catch (...) {
          problem = std::current_exception();
        }
        done_->post(problem);
      } else {
        std::optional<R> value;
        std::exception_ptr problem;
        try {
          value.emplace(state.take());
        } catch (...) {
          problem = std::current_exception();
        }
        done_->post(problem, value ? std::move(*value) : R{});
      }
    } catch (...) {
      // No memory for the last word: the handler is dropped.
    }
  }

private:
  completion_ptr<typename async_signature<R>::type> done_;
};

}  // namespace detail

}  // namespace mp
