#pragma once
/// @file
/// How a pool and its tasks are asked to behave.
///
/// Model:    the arguments of Python's Pool, as aggregates with designated initialisers.
/// Threads:  values.                 Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/async.hpp"
#include "mp/detail/future_state.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/duration.hpp"
#include "mp/failure.hpp"
#include "mp/init.hpp"
#include "mp/process_options.hpp"
#include "mp/restart_limits.hpp"
#include "mp/task.hpp"

#include <boost/asio/execution/executor.hpp>
#include <boost/asio/is_executor.hpp>

#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>

namespace mp {

/// When a task has taken too long. A length limits each attempt from its start, a moment the whole task with its time
/// in the queue. What is over is stopped: its stop token is tripped if it takes one, after the grace its worker is
/// killed.
///
/// Threads:  a value.   Processes: process-bound.
class deadline {
public:
  /// None.
  deadline() noexcept = default;
  template <class Rep, class Period>
  deadline(std::chrono::duration<Rep, Period> each_attempt) noexcept : length_(mp::duration(each_attempt)) {}
  deadline(duration each_attempt) noexcept : length_(each_attempt) {}
  deadline(time_point whole_task) noexcept : moment_(whole_task) {}

  const std::optional<duration>& of_attempt() const noexcept { return length_; }
  const std::optional<time_point>& of_task() const noexcept { return moment_; }
  bool is_none() const noexcept { return !length_ && !moment_; }

private:
  std::optional<duration> length_;
  std::optional<time_point> moment_;
};

/// How often a task may be tried. Attempts are used up by deaths of workers and by deadlines, never by what the task
/// throws: that is its answer. More than one needs `idempotent`: the task may then run again although it had begun.
/// Whoever takes it refuses nonsense: error{invalid_argument}.
///
/// Threads:  a value.   Processes: process-bound.
struct retry {
  std::ptrdiff_t attempts = 1;  ///< in all
  mp::back_off back_off{};
  bool idempotent = false;
};

/// What one call of `submit` and its kin asks for its task; what is left out is the pool's.
///
/// Threads:  a value; `on_progress` runs on the pool's executor.   Processes: process-bound.
struct task_options {
  mp::deadline deadline{};
  mp::retry retry{};                ///< as it is: the pool's; {.attempts = 1, .idempotent = true} is none
  int priority = 0;                 ///< higher runs first, also before what waits in a worker already
  std::string key{};                ///< same key: same worker, in order; a retry comes after what waits
  std::optional<duration> grace{};  ///< default: the pool's
  std::function<void(const progress_report&)> on_progress{};  ///< what the task says by this_task::progress
};

/// What one call of `map`, `imap` and their kin asks for its items.
///
/// Threads:  a value.   Processes: process-bound.
struct map_options {
  std::ptrdiff_t chunk = 0;       ///< items that go to a worker at once, at least; 0: measured
  std::ptrdiff_t look_ahead = 0;  ///< items that imap reads ahead of its consumer; 0: 4 chunks a worker
  mp::deadline deadline{};        ///< of each item
  mp::retry retry{};              ///< of each item; as it is: the pool's
  std::stop_token stop{};         ///< tripped: what is not done is cancelled; map throws cancelled, imap ends
  bool progress = false;          ///< map, starmap, for_each: one line on stderr, if that is a terminal
};
/// `pool.map(f, items, mp::progress)`
inline const map_options progress{.progress = true};

/// A worker that has gone, however it went.
///
/// Threads:  a value.   Processes: process-bound.
struct worker_exit {
  std::string worker{};  ///< "pool worker 1"
  mp::post_mortem post_mortem{};
  bool replaced = false;  ///< another takes its place
};

/// Where callbacks run: on any executor of Boost.Asio's, or, if none is given, on the library's I/O thread.
///
/// Threads:  a value.   Processes: process-bound.
class callback_executor {
public:
  /// None: the library's I/O thread.
  callback_executor() noexcept = default;
  template <class Executor>
  requires(asio::is_executor<Executor>::value || asio::execution::is_executor<Executor>::value)
      callback_executor(Executor executor) {
    if constexpr (requires { executor == nullptr; })
      if (executor == nullptr) return;
    post_ = [executor = std::move(executor)](std::function<void()> f) { detail::post_to(executor, std::move(f)); };
  }
  /// Is there one?
  explicit operator bool() const noexcept { return static_cast<bool>(post_); }
  /// Runs it there, never from here. Precondition: there is one. Throws: what the executor throws.
  void post(std::function<void()> f) const { post_(std::move(f)); }

private:
  std::function<void(std::function<void()>)> post_;
};

/// What a pool is made with. A pool refuses numbers that make no sense: error{invalid_argument}.
///
/// Threads:  a value; `on_worker_exit` runs on `executor`.   Processes: process-bound.
struct pool_options {
  std::ptrdiff_t workers = cpu_count();
  task initializer{};                       ///< runs first in each worker: .initializer = {load, "model.bin"}
  std::ptrdiff_t max_tasks_per_worker = 0;  ///< then it is replaced, between tasks; 0: never
  std::size_t max_memory_per_worker = 0;    ///< resident bytes; beyond it is replaced, between tasks; 0: never
  std::optional<mp::start_method> start_method{};
  mp::restart_limits restart{};  ///< of workers that end while they run no task: an initializer that fails, mostly
  std::string name = "pool";     ///< workers are called "NAME worker 1"
  std::function<void(const worker_exit&)> on_worker_exit{};
  mp::limits limits{};                              ///< of each worker; .memory ends in std::bad_alloc or worker_died
  std::ptrdiff_t max_queued = 0;                    ///< beyond it submit waits, try_submit refuses; 0: no bound
  mp::deadline deadline{};                          ///< default of its tasks
  mp::retry retry{};                                ///< default of its tasks
  duration grace = std::chrono::milliseconds(100);  ///< from a tripped stop token to SIGKILL
  callback_executor executor{};                     ///< of its callbacks: io.get_executor()
};

/// One worker now.
///
/// Threads:  a value.   Processes: process-bound.
struct worker_info {
  std::string name{};
  pid_t pid = 0;
  task_id task = 0;  ///< 0: idle
  std::uint64_t tasks_done = 0;
  std::size_t memory = 0;  ///< resident bytes
};

/// A task that ended its workers as often as its attempts allow. A pool keeps the last 1,000.
///
/// Threads:  a value.   Processes: process-bound.
struct dead_letter {
  task_id task = 0;
  std::string function{};                 ///< as its post-mortems name it
  std::vector<mp::post_mortem> deaths{};  ///< one an attempt, in their order
};

/// A pool at one moment: tasks (of a map: items) that wait or run now, and what has become of those before.
///
/// Threads:  a value.   Processes: process-bound.
struct pool_stats {
  std::uint64_t queued = 0, running = 0, done = 0, failed = 0, cancelled = 0, retried = 0, worker_deaths = 0;
  std::vector<worker_info> workers{};
};

}  // namespace mp
