#pragma once
/// @file
/// The one family of errors: `mp::error`, a `std::system_error` with `mp::errc`.
///
/// Model:    std::system_error; Python's ProcessError family.
/// Shape:    expected outcomes (nothing there yet, no room, time up) are values; what a caller could not foresee is an
///           `error`; the async forms carry the same `errc` in an `error_code`.
/// Threads:  values.                 Processes: copied.
/// Source:   doc/decisions/0004-errors.md.

#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>
#include <string>
#include <system_error>

namespace mp {

/// What the async forms complete with.
using error_code = boost::system::error_code;

/// Why an operation was refused. One sentence each in `category().message()`.
enum class errc {
  closed = 1,         ///< the peer left in order, nobody is left, or this handle was closed
  peer_died,          ///< the other end vanished
  start_failed,       ///< the child never came: died or hung before its hello
  not_initialised,    ///< main() does not begin with mp::init(argc, argv)
  not_started,        ///< the process was not started yet
  already_started,    ///< the process was started before
  still_running,      ///< the process has not ended yet
  still_open,         ///< close or terminate it first
  wrong_process,      ///< the handle belongs to another process (used after a raw fork)
  fork_unsafe,        ///< fork was refused because other threads run
  version_mismatch,   ///< the two sides are not the same build
  would_deadlock,     ///< a waiting call on the library's own I/O thread
  shut_down,          ///< the library was shut down
  invalid_argument,   ///< an argument is out of range
  too_large,          ///< the message is larger than the limit
  unencodable,        ///< the value cannot be written as a message
  undecodable,        ///< the message cannot be read as this type
  type_mismatch,      ///< the channel carries another type
  bad_frame,          ///< bytes that no sender of ours writes
  out_of_resources,   ///< descriptors, memory, processes or a quota ran out
  cancelled,          ///< cancelled by its owner
  deadline_exceeded,  ///< the deadline is over
  task_threw,         ///< the task ended with an exception that cannot travel as itself
  worker_died,        ///< the worker died in the task
  task_poisoned,      ///< the task killed its worker as often as its attempts allow
  overloaded,         ///< refused to protect what is running
  pool_closed,        ///< the pool takes no more tasks
  pool_broken,        ///< the pool gave up restarting its workers
  no_such_child,      ///< the supervisor has no child of this name
  restarts_exceeded   ///< the supervisor's restart budget is spent
};

/// The category "mp". Equal to the `std::errc` condition where there is one (`closed`: `broken_pipe`).
const std::error_category& category() noexcept;
std::error_code make_error_code(errc) noexcept;

/// An error of the library. `what()` says who, what, how much, and what to do.
///
/// Threads:  a value.   Processes: copied.
class error : public std::system_error {
public:
  error(errc code, const std::string& text);
  /// With the system's own code behind it (EMFILE ..).
  error(errc code, const std::string& text, std::error_code cause);

  /// The text alone, without the category's sentence.
  const char* what() const noexcept override { return text_.c_str(); }
  /// The system's own code behind this error, or zero.
  std::error_code cause() const noexcept { return cause_; }

private:
  std::string text_;
  std::error_code cause_;
};

namespace detail {
/// Throws `error{code, text}`. Out of line, so that headers stay light.
[[noreturn]] void throw_error(errc code, const std::string& text);
/// Throws `error{code, "text: strerror(err)"}` with the cause set. EMFILE, ENFILE, ENOMEM, ENOSPC, EAGAIN of fork ..
/// become `out_of_resources` whatever `code` says.
[[noreturn]] void throw_system_error(errc code, const std::string& text, int err);
/// The same for the async forms: what an exception would have carried.
boost::system::error_code to_boost(errc) noexcept;
}  // namespace detail

}  // namespace mp

template <>
struct std::is_error_code_enum<mp::errc> : std::true_type {};
template <>
struct boost::system::is_error_code_enum<mp::errc> : std::true_type {};
