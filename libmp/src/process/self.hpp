#pragma once
/// @file
/// What this process knows of itself: is it initialised, is it a child, whose, with which defaults.
///
/// Threads:  what is not marked otherwise is set in mp::init or before a child's function runs, and never changed.
/// Processes: each has its own; a child of the fork server or of fork begins with `become`.
/// Source:   doc/process-model.md.

#include "mp/init.hpp"
#include "os/fork_guard.hpp"

#include <sys/types.h>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace mp::detail {

struct self {
  bool initialised = false;
  std::uint64_t generation = 0;  // of the process that this is true of: a raw fork copies it
  init_options options;
  std::vector<std::string> arguments;  // argv, as it was given

  std::atomic<bool> shut_down{false};  // no process starts any more
  std::atomic<start_method> method{start_method::forkserver};
  std::atomic<std::uint64_t> children_named{0};  // how many children got a name of ours

  std::string name = "main";
  bool daemon = false;
  bool is_child = false;
  pid_t parent_pid = 0;
  std::string parent_name;
  os::guarded_fd control;   // to the parent; children only
  os::guarded_fd lifeline;  // armed; children only

  /// "process-1", in a child named "process-1" "process-1:1".
  std::string next_child_name();
};

/// The one. Made on first use, never destroyed: static destructors may still ask.
self& this_self() noexcept;

/// Throws error{not_initialised} in one sentence that says what to add.
void check_initialised();

}  // namespace mp::detail
