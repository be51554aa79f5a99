#pragma once
/// @file
/// The first statement of main, and how processes are started.
///
/// Model:    Python's `if __name__ == "__main__"`, freeze_support() and set_start_method().
/// Shape:    a child runs main up to init, and never comes back from it.
/// Threads:  init before other threads; the rest is thread-safe.   Processes: once in each.
/// Source:   doc/decisions/0001-start-methods.md, doc/process-model.md.

#include "mp/detail/std_parts.hpp"

#include <exception>

namespace mp {

/// How a child comes into being.
enum class start_method {
  forkserver,        ///< forked by a small, single-threaded copy of this program (default): cheap, safe with threads
  spawn,             ///< this program, executed anew
  fork,              ///< a copy of this process as it is; refused while other threads run
  fork_with_threads  ///< that, asked for by name: locks that other threads hold stay locked in the child for ever
};

struct init_options {
  void (*preload)() = nullptr;                             ///< runs once in the fork server; must not start threads
  bool crash_handler = true;                               ///< in children: a crash is explained by process::failure()
  std::function<void(std::exception_ptr)> on_unhandled{};  ///< what a bare callback throws; default: a line on stderr
};

/// Must be the first statement of main. In a child it runs what the child was started for and never returns.
/// What main does before it, and constructors of statics, run in children, too.
///
/// Twice:    the second call does nothing.
/// Throws:   nothing in the first process; in a child nothing leaves it.
/// Threads:  before other threads start.   Processes: once in each.
void init(int argc, char** argv, const init_options& options = {});

/// The default of processes without a method of their own; children inherit it.
///
/// Threads:  safe.   Processes: each has its own, inherited.
void set_start_method(start_method method) noexcept;
start_method get_start_method() noexcept;

/// Processors that this process may use: affinity and cgroup quotas; at least 1.
///
/// Throws:   nothing but what memory that is used up throws.
/// Threads:  safe.   Processes: about the calling one.
int cpu_count();

}  // namespace mp
