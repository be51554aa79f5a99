#pragma once
/// @file
/// One start that is under way: what the child is told, and what happens if it does not come. Used by starter.cpp.
///
/// Threads:  thread-bound.           Processes: process-bound.
/// Source:   doc/process-model.md.

#include "mp/error.hpp"
#include "os/pidfd.hpp"
#include "process/start_message.hpp"
#include "process/starter.hpp"
#include "process/surroundings.hpp"

#include <string>
#include <vector>

namespace mp::detail {

// One start that is under way.
struct attempt {
  const start_plan& plan;
  const process_options& options;
  time_point until;
  child_streams streams;
  start_message message;
  std::vector<int> fds;  // that go with the message: directory, streams; then the call's
  unique_fd directory;

  bool is_called_off() const noexcept { return os::is_readable(plan.give_up); }
};
/// Throws error{cancelled} if it was called off.
void check_wanted(const attempt& a);

/// "process NAME", for messages.
std::string quoted(const attempt& a);
/// Ends a child whose start went wrong, and throws `code` with why it did.
[[noreturn]] void fail(const attempt& a, child& c, errc code, std::string why);

/// Fills the message from the options. Throws error{invalid_argument}.
void set_options(attempt& a);
/// Whatever differs between the fork server's moment and ours is told to the child.
void set_differences(attempt& a, const surroundings& then, surroundings&& now);
/// An environment with the changes that the options ask for. Throws error{invalid_argument}.
std::vector<std::string> changed(std::vector<std::string> environment, const process_options& options);

/// Sends the start message and the call; `all_streams`: the child's streams are not ours yet.
void send_task(attempt& a, child& c, bool all_streams);
/// After the child has its streams: lets go of them and begins to pass on what is captured.
void take_captures(attempt& a, child& c);
/// Waits for the child's `ready`.
started_child finish(attempt& a, std::shared_ptr<child> c);

}  // namespace mp::detail
