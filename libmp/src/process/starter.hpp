#pragma once
/// @file
/// Starting a child, by whichever method: from the encoded call to a child that has said it is ready.
///
/// Threads:  thread-safe.            Processes: any that has called mp::init.
/// Source:   doc/decisions/0001-start-methods.md.

#include "mp/detail/call.hpp"
#include "mp/process_options.hpp"
#include "process/child.hpp"
#include "process/streams.hpp"

#include <memory>
#include <string>

namespace mp::detail {

/// What a process that is not started holds.
struct waiting_call {
  std::vector<std::byte> bytes;
  waiting_fds fds;
};

struct start_plan {
  const process_options* options = nullptr;
  std::string name;
  const waiting_call* call = nullptr;  // kept by the caller, so that start can be tried again
  bool takes_stop = false;             // its function asks for a stop token
  int give_up = -1;                    // once this is readable, the start is called off
  bool own_group = false;              // leads a process group of its own and ignores SIGINT: pool workers
};

struct started_child {
  std::shared_ptr<detail::child> child;
  std::array<os::guarded_fd, 3> ours;  // our ends of its stdio::pipe()s
};

/// Starts it and waits for its `ready`, at most start_timeout. Throws what process::start promises, and error{cancelled}
/// when it was called off; no child is left.
started_child start_child(const start_plan& plan);

}  // namespace mp::detail
