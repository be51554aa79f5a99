#pragma once
/// @file
/// From a stream's item to what its consumer gets, now or by a completion handler.
/// Not for users: `results` is their way in.
///
/// Threads:  see each class.         Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/async.hpp"
#include "mp/detail/future_hooks.hpp"
#include "mp/detail/pool_stream.hpp"
#include "mp/error.hpp"

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace mp {

template <class R>
struct outcome;

namespace detail {
template <class T>
struct streamed {
  using result = T;
  static T take(stream_item<T>&& item) {
    if constexpr (std::is_void_v<T>)
      static_cast<void>(item.take());
    else
      return item.take();
  }
};
template <class R>
struct streamed<outcome<R>> {
  using result = R;
  static outcome<R> take(stream_item<R>&& item) { return outcome<R>(std::move(item)); }
};

/// Completes a handler with a stream's next item.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R>
class item_completion final : public stream_listener<typename streamed<R>::result> {
  using item_type = stream_item<typename streamed<R>::result>;

public:
  using signature = typename async_signature<R>::type;

  explicit item_completion(completion_ptr<signature> done) noexcept : done_(std::move(done)) {}
  void told(std::unique_ptr<item_type> item) noexcept override {
    std::optional<unit_for_void<R>> value;
    try {
      if (!item) throw_error(errc::cancelled, "results::async_get was told to stop");
      if constexpr (std::is_void_v<R>) {
        streamed<R>::take(std::move(*item));
        value.emplace();
      } else {
        value.emplace(streamed<R>::take(std::move(*item)));
      }
    } catch (...) {
      fail(std::current_exception());
      return;
    }
    try {
      if constexpr (std::is_void_v<R>)
        done_->post(nullptr);
      else
        done_->post(nullptr, std::move(*value));
    } catch (...) {
      // No memory for the last word: the handler is dropped.
    }
  }
  void fail(const std::exception_ptr& problem) noexcept {
    try {
      if constexpr (std::is_void_v<R>)
        done_->post(problem);
      else
        done_->post(problem, R{});
    } catch (...) {
      // No memory for the last word: the handler is dropped.
    }
  }

private:
  completion_ptr<signature> done_;
};
}  // namespace detail

}  // namespace mp
