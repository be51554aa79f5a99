#pragma once
/// @file
/// The calling process: who it is, who its parent is, which children it has, how it ends.
///
/// Model:    Python's current_process(), parent_process(), active_children().
/// Threads:  thread-safe.            Processes: about the calling one.
/// Source:   doc/process-model.md, doc/decisions/0007-what-dies-with-whom.md.

#include "mp/address.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/duration.hpp"

#include <sys/types.h>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace mp {

/// A running child.
struct process_info {
  pid_t pid = 0;
  std::string name{};
  bool daemon = false;
};

/// The process that started this one.
///
/// Threads:  thread-safe.   Processes: process-bound.
class parent_process {
public:
  pid_t pid() const noexcept { return pid_; }
  const std::string& name() const noexcept { return name_; }
  /// False once it has ended (then the kernel is about to kill this process, too). Throws: nothing.
  bool is_alive() const;
  /// A borrowed descriptor, readable (hung up) once the parent has ended; valid for the life of this process.
  int sentinel() const noexcept { return sentinel_; }

  /// Waits:    until the parent has ended; join_for at most `limit`, false if time is up.
  /// Throws:   error{would_deadlock} on the library's I/O thread.
  void join() const;
  [[nodiscard]] bool join_for(duration limit) const;

  /// Sends a message of these values to the parent's mailbox; a literal travels as std::string.
  ///
  /// Waits:    while the mailbox is full (10,000 messages).
  /// Throws:   error{closed}; error{peer_died}; error{unencodable}, error{too_large}.
  template <class... V>
  void send(V&&... values) const {
    address().send(std::forward<V>(values)...);
  }
  /// Where to send to it. Throws: error{closed}, error{out_of_resources}.
  mp::address address() const;

private:
  friend struct parent_process_maker;
  parent_process(pid_t pid, std::string name, int sentinel) : pid_(pid), name_(std::move(name)), sentinel_(sentinel) {}

  pid_t pid_;
  std::string name_;
  int sentinel_;
};

/// Runs `hook` at the orderly end of this process: before children are awaited and output is flushed; last added first.
/// What a hook throws is dropped with a line on stderr.
///
/// Throws:   nothing but what memory that is used up throws, as the next ones.
/// Threads:  safe.   Processes: hooks are not inherited by children.
void at_exit(std::function<void()> hook);

namespace this_process {

pid_t pid() noexcept;
/// "main" in the first process. Throws: std::bad_alloc.
std::string name();
/// nullopt in the first process. Throws: std::bad_alloc.
std::optional<mp::parent_process> parent();
/// The children that run; reaps those that have ended. Throws: std::bad_alloc.
std::vector<process_info> active_children();
/// Trips when the parent calls process::request_stop. In the first process it never trips.
/// Throws:   error{out_of_resources}: the first call in a child starts the library's I/O thread.
std::stop_token stop_token();
/// Ends this process in order: at_exit hooks, children, output flushed. In the first process it is std::exit.
/// Throws:   nothing; it does not come back.
[[noreturn]] void exit(int code);

}  // namespace this_process
}  // namespace mp
