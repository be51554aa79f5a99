#pragma once
/// @file
/// Processes that are started again when they end, after a plan, and stopped in order.
///
/// Model:    Erlang/OTP's supervisor: child specifications, strategies, restart kinds, intensity in a period.
/// Shape:    a supervisor is a thread that sleeps until a child ends or somebody asks for something. Its children are
///           processes, and supervisors in this process.
/// Threads:  thread-safe.            Processes: process-bound.
/// Death:    however a child ends, its restart kind decides; if this process dies, the kernel kills all children.
/// Source:   doc/decisions/0010-supervisors.md; OTP's supervisor.erl.
///
/// Example:  samples/07_supervisor.cpp

#include "mp/address.hpp"
#include "mp/detail/async.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/duration.hpp"
#include "mp/exit_status.hpp"
#include "mp/pool_options.hpp"
#include "mp/process_options.hpp"
#include "mp/restart_limits.hpp"
#include "mp/task.hpp"
#include "mp/verdict.hpp"

#include <sys/types.h>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mp {

/// Who is started again when one child must be.
enum class strategy {
  one_for_one,        ///< that one
  one_for_all,        ///< all: the others are stopped first
  rest_for_one,       ///< that one and those that were started after it
  simple_one_for_one  ///< that one; children differ only in their name and task, and all are dynamic
};

/// When a child must be started again.
enum class restart {
  permanent,  ///< always
  transient,  ///< when it failed: any end but code 0
  temporary   ///< never; its specification goes with it
};

/// When a supervisor stops by itself, because children marked significant have ended and are not started again.
enum class auto_shutdown { never, any_significant, all_significant };

/// How a child is stopped.
///
/// Threads:  a value.   Processes: process-bound.
class stop_policy {
public:
  /// Asked to stop (its stop token if it takes one, else SIGTERM), killed when the time is up.
  template <class Rep, class Period>
  stop_policy(std::chrono::duration<Rep, Period> limit) noexcept : limit_(limit) {}
  /// Killed at once.
  static stop_policy brutal() noexcept {
    stop_policy p(std::chrono::seconds(0));
    p.brutal_ = true;
    return p;
  }
  /// Asked to stop, and awaited however long that takes.
  static stop_policy infinite() noexcept { return stop_policy(std::chrono::hours::max()); }

  duration limit() const noexcept { return limit_; }
  bool is_brutal() const noexcept { return brutal_; }

private:
  duration limit_;
  bool brutal_ = false;
};

/// A child has ended that nobody told to, or could not be started again (then the status is unknown).
struct child_event {
  std::string child{};
  mp::exit_status status{};  ///< of a supervisor: code 0 if it stopped by itself, 1 if it gave up
  std::size_t restarts = 0;  ///< of this child, so far
  bool gave_up = false;      ///< the budget is spent: the supervisor stops
};

struct supervisor_options {
  mp::strategy strategy = mp::strategy::one_for_one;
  mp::restart_limits restart{};
  mp::auto_shutdown auto_shutdown = mp::auto_shutdown::never;
  /// Told on `executor`, or if there is none on the I/O thread, which it must not block; the last events perhaps after
  /// the supervisor has gone: it must own what it uses.
  std::function<void(const child_event&)> on_event{};
  callback_executor executor{};  ///< of its callback: io.get_executor()
};

struct child_spec;
namespace detail {
struct supervisor_plan;
class supervisor_core;
}  // namespace detail

/// A supervisor as a child of another.
///
/// Threads:  a value; copies share the plan.   Processes: process-bound.
class supervisor_spec {
public:
  /// None.
  supervisor_spec() noexcept = default;
  /// Throws: std::bad_alloc.
  supervisor_spec(supervisor_options options, std::vector<child_spec> children);

  explicit operator bool() const noexcept { return plan_ != nullptr; }
  /// For the library: null for none.
  friend const std::shared_ptr<const detail::supervisor_plan>& supervisor_plan_of(const supervisor_spec& s) noexcept {
    return s.plan_;
  }

private:
  std::shared_ptr<const detail::supervisor_plan> plan_;
};

/// What a supervisor must know of a child. Exactly one of `start` and `supervise`.
struct child_spec {
  std::string name{};           ///< unique in its supervisor; also the process's name, unless `options` has one
  task start{};                 ///< {serve, 8080}: each start gets the same arguments; their handles stay with this
  supervisor_spec supervise{};  ///< a supervisor in this process; when it gives up, the one above decides
  mp::restart restart = mp::restart::permanent;
  stop_policy shutdown = std::chrono::seconds(5);
  bool significant = false;  ///< see auto_shutdown; transient and temporary children only
  process_options options{};
};

struct child_info {
  std::string name{};
  pid_t pid = 0;  ///< 0: it does not run, or is a supervisor
  std::size_t restarts = 0;
  std::optional<mp::exit_status> last{};  ///< of its last end
  bool is_supervisor = false;
};

struct child_counts {
  std::size_t specs = 0, active = 0, supervisors = 0, workers = 0;
};

namespace detail {
void async_join(const std::shared_ptr<supervisor_core>&, completion_ptr<void(std::exception_ptr, verdict)>,
                asio::cancellation_slot);
}

/// Runs its children until it is stopped, stops by itself, or gives up.
///
/// Threads:  thread-safe, but for move and destruction.   Processes: process-bound.
class supervisor {
public:
  /// Starts the children from left to right. With simple_one_for_one `children` is one specification: the pattern of
  /// those that start_child adds; nothing is started.
  ///
  /// Waits:    for each child's hello.
  /// Throws:   error{invalid_argument}; what process::start throws: those that were started are stopped again;
  ///           error{closed}: the library was shut down meanwhile.
  explicit supervisor(supervisor_options options, std::vector<child_spec> children = {});
  supervisor(supervisor&&) noexcept;
  supervisor& operator=(supervisor&&) noexcept;
  /// stop().
  ~supervisor();

  /// Adds a child at the right end, and starts it.
  ///
  /// Waits:    for its hello, as all calls here wait while the supervisor starts or stops children.
  /// Throws:   error{invalid_argument}: the name is taken, the specification is wrong; what process::start throws: it
  ///           was not added; error{closed}: the supervisor has stopped.
  void start_child(child_spec spec);
  /// Stops a child by its policy. The specification stays, but of a temporary child.
  ///
  /// Waits:    as its policy says.
  /// Throws:   error{no_such_child}; error{closed}.
  void terminate_child(std::string_view name);
  /// Starts a child that does not run.
  ///
  /// Waits:    for its hello.
  /// Throws:   error{no_such_child}; error{still_running}; error{closed}; what process::start throws.
  void restart_child(std::string_view name);
  /// Forgets a child that does not run.
  ///
  /// Waits:    while the supervisor starts or stops children.
  /// Throws:   error{no_such_child}; error{still_running}; error{closed}.
  void delete_child(std::string_view name);
  /// Where to send to whoever runs under this name, now and after restarts. What a child that died had not taken yet is
  /// for the next one. While nobody runs, a send throws peer_died.
  ///
  /// Waits:    while the supervisor starts or stops children.
  /// Throws:   error{no_such_child}; error{invalid_argument}: it is a supervisor; error{closed};
  ///           error{out_of_resources}.
  mp::address address(std::string_view child) const;

  /// In the order in which they are started. Never waits. Throws: std::bad_alloc.
  std::vector<child_info> which_children() const;
  child_counts count_children() const;

  /// Stops the children from right to left, each by its policy; a start that is under way is called off. Again: the same
  /// verdict.
  ///
  /// Waits:    as the policies say.
  /// Throws:   error{would_deadlock} on the library's I/O thread.
  verdict stop();
  /// Who ended and who was killed when it stopped, by stop(), by itself, or because it gave up.
  ///
  /// Waits:    until it has stopped; join_for at most `limit`: nullopt.
  /// Throws:   error{restarts_exceeded}: it gave up; names child and status. error{would_deadlock}.
  verdict join();
  std::optional<verdict> join_for(duration limit);
  /// Completes with (exception_ptr, verdict), as join. Throws: error{out_of_resources}.
  template <class Token>
  auto async_join(Token&& token) {
    return asio::async_initiate<Token, void(std::exception_ptr, verdict)>(
        [](auto handler, std::shared_ptr<detail::supervisor_core> core) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          detail::async_join(core, detail::make_completion<void(std::exception_ptr, verdict)>(std::move(handler)),
                             slot);
        },
        token, core("supervisor::async_join"));
  }

private:
  const std::shared_ptr<detail::supervisor_core>& core(const char* call) const;

  std::shared_ptr<detail::supervisor_core> core_;
};

}  // namespace mp
