#pragma once
/// @file
/// A function that runs in a process of its own.
///
/// Model:    Python's multiprocessing.Process and std::jthread; different: the status is the return value of join, a
///           crash is explained, and a child never outlives its parent.
/// Shape:    constructed with encoded arguments, started once, joined any number of times. Two descriptors each.
/// Threads:  thread-safe but for start, take_*, close, move and destruction.   Processes: process-bound.
/// Death:    however the child ends, join tells; if this process ends out of order, the kernel kills the child.
/// Source:   doc/process-model.md, doc/decisions/0001-start-methods.md.

#include "mp/address.hpp"
#include "mp/detail/async.hpp"
#include "mp/detail/call.hpp"
#include "mp/duration.hpp"
#include "mp/exit_status.hpp"
#include "mp/failure.hpp"
#include "mp/process_options.hpp"
#include "mp/task.hpp"
#include "mp/unique_fd.hpp"

#include <sys/types.h>
#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace mp {

class process;

namespace detail {
class child;
class process_state;
struct process_access;
struct process_hooks;
/// Puts an operation under way that ends with the child's status.
void async_join(const std::shared_ptr<child>&, completion_ptr<void(error_code, mp::exit_status)>,
                asio::cancellation_slot);
template <class F>
concept process_function =
    !std::same_as<std::remove_cvref_t<F>, process> && !std::same_as<std::remove_cvref_t<F>, process_options>;
}  // namespace detail

/// A child process. Letting go of a running one (destructor, assignment) never waits, kills or throws: the library
/// reaps it, and at our orderly exit it is joined, or terminated if it is a daemon.
///
/// Threads:  thread-safe but for start, take_*, close, move and destruction.   Processes: process-bound.
class process {
public:
  /// Nothing to start: every use throws error{closed}.
  process() noexcept;
  process(process&&) noexcept;
  process& operator=(process&&) noexcept;
  ~process();

  /// Encodes `f` and its arguments; starts nothing. Bytes are copied, handles are shared or moved. `f` may be a `task`,
  /// without arguments.
  /// Throws:   error{unencodable}, error{too_large}, error{invalid_argument} (a null function, an empty task).
  template <class F, class... A>
  requires detail::process_function<F>
  explicit process(F&& f, A&&... args) : process(encode_call(std::forward<F>(f), std::forward<A>(args)...), tag{}) {}
  template <class F, class... A>
  process(process_options options, F&& f, A&&... args)
      : process(std::move(options), encode_call(std::forward<F>(f), std::forward<A>(args)...), tag{}) {}

  /// Starts the child.
  ///
  /// Waits:    for the child's hello, at most start_timeout.
  /// Throws:   error{start_failed}, error{already_started}, error{not_initialised}, error{fork_unsafe},
  ///           error{version_mismatch}, error{out_of_resources}, error{invalid_argument} (options). No child is left
  ///           behind, and start may be tried again.
  /// Cost:     one fork in the fork server; bench/.
  process& start() &;
  process start() && { return std::move(start()); }

  /// The child's status once it has ended; reaps it. Again: the same, at once.
  ///
  /// Waits:    until the child has ended; join_for and join_until at most so long: nullopt.
  /// Throws:   error{not_started}, error{closed}, error{wrong_process}, error{would_deadlock}.
  mp::exit_status join();
  std::optional<mp::exit_status> join_for(duration limit);
  std::optional<mp::exit_status> join_until(time_point when);
  /// Completes with (error_code, exit_status). Throws: as join.
  template <class Token>
  auto async_join(Token&& token) {
    return asio::async_initiate<Token, void(error_code, mp::exit_status)>(
        [](auto handler, std::shared_ptr<detail::child> child) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          detail::async_join(child, detail::make_completion<void(error_code, mp::exit_status)>(std::move(handler)),
                             slot);
        },
        token, started_child("process::async_join"));
  }

  /// nullopt: still running. Throws: as join, never would_deadlock.
  std::optional<mp::exit_status> exit_status() const;
  /// Why it failed; nullopt: running, or ended without exception and crash. Throws: as exit_status.
  std::optional<mp::failure> failure() const;

  /// Trips the stop token of the child, if it has asked for one. Never waits. Throws: error{not_started}.
  void request_stop();
  /// SIGINT, SIGTERM, SIGKILL to this child only; nothing if it has ended. Throw: error{not_started}, error{closed}.
  void interrupt();
  void terminate();
  void kill();

  /// False before start, too. Throws: error{closed}, error{wrong_process}.
  bool is_alive() const;
  /// Throws: error{not_started}, error{closed}.
  pid_t pid() const;
  /// Throws: error{closed}.
  const std::string& name() const;
  bool daemon() const;
  /// A borrowed descriptor, readable once the child has ended; valid until close or destruction.
  /// Throws: error{not_started}, error{closed}.
  int sentinel() const;

  /// Our ends of stdio::pipe(); empty if there is none or it was taken. Throw: error{not_started}, error{closed}.
  unique_fd take_in();
  unique_fd take_out();
  unique_fd take_err();

  /// Frees everything; later use throws closed. Twice is fine. Throws: error{still_running}.
  void close();

  /// Sends a message of these values to the child's mailbox; a literal travels as std::string.
  ///
  /// Waits:    while the mailbox is full (10,000 messages).
  /// Throws:   error{not_started}; error{closed}: it has left; error{peer_died}; error{unencodable}, error{too_large}.
  template <class... V>
  void send(V&&... values) {
    address().send(std::forward<V>(values)...);
  }
  /// The same, but never waits. False: the mailbox is full; nothing was sent.
  ///
  /// Throws:   as send.
  template <class... V>
  [[nodiscard]] bool try_send(V&&... values) {
    return address().try_send(std::forward<V>(values)...);
  }
  /// Asks the child: see address::request. Throws: as that; error{not_started}, error{closed}, error{peer_died}.
  template <class R, class... V>
  mp::future<R> request(duration limit, V&&... values) {
    return address().template request<R>(limit, std::forward<V>(values)...);
  }
  /// Lets others send to it, too. Shareable. Throws: error{not_started}, error{closed}, error{out_of_resources}.
  mp::address address() const;

private:
  friend struct detail::process_access;
  friend struct detail::process_hooks;
  struct tag {};
  process(detail::encoded call, tag);
  process(process_options options, detail::encoded call, tag);
  template <class F, class... A>
  static detail::encoded encode_call(F&& f, A&&... args) {
    if constexpr (std::same_as<std::remove_cvref_t<F>, task>) {
      static_assert(sizeof...(A) == 0, "mp::process: a task has its arguments already; give it none here");
      return encode_task(f);
    } else {
      return detail::serialise_call(detail::bind_call(std::forward<F>(f), std::forward<A>(args)...));
    }
  }
  static detail::encoded encode_task(const task& t);
  detail::process_state& state(const char* what) const;
  std::shared_ptr<detail::child> started_child(const char* what) const;

  std::unique_ptr<detail::process_state> state_;
};

}  // namespace mp
