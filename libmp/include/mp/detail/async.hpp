#pragma once
/// @file
/// What every `async_x(token)` is made of: a completion of any Boost.Asio token behind one pointer, and operations that
/// the library's I/O thread finishes.
/// Not for users, but for the types that have async forms.
///
/// Model:    asio::any_completion_handler, which Boost 1.81 has not yet.
/// Shape:    the face makes an `async_operation` that owns the handler; the I/O thread tries it when its descriptor is
///           readable and every 50 ms; the one who finishes it posts the handler to its associated executor.
/// Threads:  an operation is touched only by the I/O thread once it was started.   Processes: process-bound.
/// Source:   doc/decisions/0006-channels.md.

#include "mp/error.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>  // operation_aborted, which async forms complete with
#include <boost/asio/execution/blocking.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/require.hpp>

#include <atomic>
#include <concepts>
#include <exception>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

// Named here and included by those who use them: their headers bring Asio's thread pool, scheduler and reactor.
namespace boost::asio {
template <typename Blocking, typename Relationship, typename Allocator>
class basic_system_executor;
template <typename T, typename Executor>
struct associated_executor;
namespace detail {
template <typename T, typename Blocking>
class promise_executor;  // use_future's
}  // namespace detail
}  // namespace boost::asio

namespace mp {
namespace asio = boost::asio;

namespace detail {

/// Something to run once, elsewhere.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class posted_call {
public:
  virtual ~posted_call() = default;
  posted_call(const posted_call&) = delete;
  posted_call& operator=(const posted_call&) = delete;
  virtual void run() = 0;

protected:
  posted_call() = default;
};

template <class F>
class posted_call_of final : public posted_call {
public:
  explicit posted_call_of(F f) : f_(std::move(f)) {}
  void run() override { std::move(f_)(); }

private:
  F f_;
};

/// The library's one I/O thread as a place where handlers run: what costs a user's compiler least to know of it.
/// <mp/detail/io_executor.hpp> has the executor of Asio's that it stands for.
///
/// Threads:  thread-safe.   Processes: process-bound.
class io_thread_ref {
public:
  /// Starts the thread on first use. Throws wrong_process in a forked child, shut_down after the library ended,
  /// out_of_resources.
  io_thread_ref();
  /// Never runs it from here. When the thread was stopped meanwhile it never runs. Throws: std::bad_alloc.
  void post(std::unique_ptr<posted_call>) const;

private:
  void* context_;
};

/// Is this the library's I/O thread?
bool on_io_thread() noexcept;
/// Was it stopped for good?
bool has_io_thread_ended() noexcept;
/// For a call that is about to wait: throws would_deadlock on the I/O thread. `what` is the call: "queue::get".
void check_may_wait(const char* what);
/// The error of the async forms for an exception of ours or of the standard library.
error_code to_error_code(std::exception_ptr) noexcept;

/// Says this executor "any thread"? use_future does. The I/O thread is one, and needs no thread pool of Asio's beside it.
template <class Executor>
inline constexpr bool is_any_thread = false;
template <class Blocking, class Relationship, class Allocator>
inline constexpr bool is_any_thread<asio::basic_system_executor<Blocking, Relationship, Allocator>> = true;
template <class T, class Blocking>
inline constexpr bool is_any_thread<asio::detail::promise_executor<T, Blocking>> = true;

/// Runs `f` on that executor, never from here. As asio::post, of executors of both of Asio's models.
template <class Executor, class F>
void post_to(const Executor& executor, F f) {
  if constexpr (std::same_as<Executor, io_thread_ref>)
    executor.post(std::make_unique<posted_call_of<F>>(std::move(f)));
  else if constexpr (asio::can_require<Executor, asio::execution::blocking_t::never_t>::value)
    asio::require(executor, asio::execution::blocking.never).execute(std::move(f));
  else
    executor.post(std::move(f), std::allocator<void>());
}

/// The same executor, which stays busy while this lives. The I/O thread needs no reason to go on.
template <class Executor>
auto keep_busy(const Executor& executor) {
  if constexpr (std::same_as<Executor, io_thread_ref>)
    return executor;
  else
    return asio::prefer(executor, asio::execution::outstanding_work.tracked);
}

template <class Handler>
concept has_associated_executor = requires {
  sizeof(asio::associated_executor<Handler, io_thread_ref>);
};
/// What asio::associated_executor<Handler, io_thread_ref> says. Where nobody included that, nobody has specialised it.
template <class Handler>
auto find_executor(const Handler& handler) {
  if constexpr (has_associated_executor<Handler>)
    return asio::associated_executor<Handler, io_thread_ref>::get(handler, io_thread_ref());
  else if constexpr (requires { typename Handler::executor_type; })
    return handler.get_executor();
  else
    return io_thread_ref();
}
template <class Handler>
using found_executor = decltype(find_executor(std::declval<const Handler&>()));
/// Where a handler runs.
template <class Handler>
using handler_executor =
    std::conditional_t<is_any_thread<found_executor<Handler>>, io_thread_ref, found_executor<Handler>>;

/// A completion handler behind a pointer; its executor stays busy until the handler was posted or dropped.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class Signature>
class completion;

template <class... A>
class completion<void(A...)> {
public:
  virtual ~completion() = default;
  completion(const completion&) = delete;
  completion& operator=(const completion&) = delete;
  /// Posts the handler to its associated executor, once. Never calls it from here.
  virtual void post(A... arguments) = 0;

protected:
  completion() = default;
};

template <class Handler, class... A>
class completion_of final : public completion<void(A...)> {
  using executor_type = handler_executor<Handler>;
  using busy_executor = std::decay_t<decltype(keep_busy(std::declval<executor_type>()))>;

  static executor_type executor_of(const Handler& handler) {
    if constexpr (std::same_as<executor_type, io_thread_ref>)
      return io_thread_ref();
    else
      return find_executor(handler);
  }

public:
  explicit completion_of(Handler handler) : executor_(keep_busy(executor_of(handler))), handler_(std::move(handler)) {}

  void post(A... arguments) override {
    post_to(executor_, [handler = std::move(handler_), values = std::tuple<A...>(std::move(arguments)...)]() mutable {
      std::apply([&](auto&... v) { std::move(handler)(std::move(v)...); }, values);
    });
  }

private:
  busy_executor executor_;
  Handler handler_;
};

template <class Signature>
using completion_ptr = std::unique_ptr<completion<Signature>>;

template <class Signature, class Handler>
struct completion_maker;
template <class... A, class Handler>
struct completion_maker<void(A...), Handler> {
  using type = completion_of<Handler, A...>;
};

/// Puts `handler`, which takes Signature's arguments, behind a pointer.
template <class Signature, class Handler>
completion_ptr<Signature> make_completion(Handler&& handler) {
  using handler_type = std::decay_t<Handler>;
  return std::make_unique<typename completion_maker<Signature, handler_type>::type>(std::forward<Handler>(handler));
}

/// One operation that is under way. Derived classes hold a completion and everything that keeps their object alive.
///
/// Threads:  thread-bound (the I/O thread) once started.   Processes: process-bound.
class async_operation {
public:
  virtual ~async_operation() = default;
  async_operation(const async_operation&) = delete;
  async_operation& operator=(const async_operation&) = delete;

  /// Operations of one group are finished in the order in which they were started.
  virtual const void* group() const noexcept { return this; }
  /// Does it, if that does not need to wait, and posts the handler. False: not now.
  virtual bool try_finish() noexcept = 0;
  /// While another one of its group waits in front of it: ends it if it can never be done, and does nothing else.
  virtual bool try_end() noexcept { return false; }

  static constexpr int none = -1;     ///< nothing to poll; the 50 ms sweep looks
  static constexpr int at_once = -2;  ///< something came in between: try again
  static constexpr int soon = -3;     ///< nothing to poll, but it cannot take long: try again in a millisecond
  /// After try_finish gave false: a descriptor that will be readable when trying again is worth while, or one of the
  /// above. It must stay open until the next call of this operation.
  virtual int prepare() noexcept = 0;
  /// Gives up: posts the handler with this error. Nothing was taken.
  virtual void abort(const error_code&) noexcept = 0;

  /// For the I/O thread: begins a try; false: it was cancelled.
  bool begin_try() noexcept {
    phase seen = phase::idle;
    return phase_.compare_exchange_strong(seen, phase::trying);
  }
  void end_try(bool finished) noexcept { phase_.store(finished ? phase::done : phase::idle); }
  /// Any thread. From its return on the operation takes nothing; false: it was done, or cancelled, before. Never waits
  /// for longer than a try, which does not wait.
  bool forbid() noexcept;

protected:
  async_operation() = default;

private:
  enum class phase : int { idle, trying, cancelled, done };
  std::atomic<phase> phase_{phase::idle};
};

/// Hands an operation to the I/O thread. Throws as io_thread_ref; then the handler was not called and never will be.
void start_operation(std::shared_ptr<async_operation>);
/// Ends it with operation_aborted, if it is still under way. Never throws; any thread.
void cancel_operation(const std::weak_ptr<async_operation>&) noexcept;

/// Makes an `Operation` from `completion, args...`, connects the handler's cancellation slot, starts it.
template <class Operation, class Signature, class Handler, class... Args>
void launch(Handler&& handler, Args&&... args) {
  // The slot is assigned but never cleared from here: a late emit finds that the operation is gone. Clearing it in the
  // I/O thread would race with an emit in the owner's.
  auto slot = asio::get_associated_cancellation_slot(handler);
  auto operation = std::make_shared<Operation>(make_completion<Signature>(std::forward<Handler>(handler)),
                                               std::forward<Args>(args)...);
  if (slot.is_connected())
    slot.assign([weak = std::weak_ptr<async_operation>(operation)](asio::cancellation_type type) {
      if (type != asio::cancellation_type::none) cancel_operation(weak);
    });
  start_operation(std::move(operation));
}

}  // namespace detail
}  // namespace mp
