#pragma once
/// @file
/// The standard streams of a child: descriptors for it, our ends of pipes, captured output.
///
/// Threads:  an output_capture is thread-safe.   Processes: process-bound.

#include "mp/process_options.hpp"
#include "os/fork_guard.hpp"

#include <array>
#include <memory>
#include <string>

namespace mp::detail {

/// What a child writes to a stream: passed on to ours by the I/O thread, its last 4 KiB kept.
class output_capture;
/// Reads what is there first. Never waits.
std::string tail_of(output_capture&);
/// For the end of this process: passes on what is there. Waits as long as whoever reads our stream takes anything.
void pass_on(output_capture&);

struct child_streams {
  // Guarded: a child that is forked meanwhile would keep these streams open.
  std::array<os::guarded_fd, 3> theirs;  // what becomes 0, 1, 2 of the child; empty: ours
  std::array<os::guarded_fd, 3> ours;    // of pipes
  std::array<std::shared_ptr<output_capture>, 3> captures;
};

/// Opens and makes what the options say. `has_empty_stdin`: the child begins with /dev/null as 0 anyway.
/// Throws error{invalid_argument}, error{start_failed}, error{out_of_resources}.
child_streams make_streams(const process_options&, bool has_empty_stdin);
/// Begins to pass on what is captured. Throws as io_thread_ref().
void start_captures(const child_streams&);

}  // namespace mp::detail
