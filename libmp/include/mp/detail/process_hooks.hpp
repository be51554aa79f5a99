#pragma once
/// @file
/// What upper floors may ask of a process beyond its public face.
/// Not for users: pools are made of this.
///
/// Threads:  as mp::process.         Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/failure.hpp"
#include "mp/process.hpp"

#include <memory>
#include <optional>
#include <string_view>

namespace mp::detail {

/// Threads:  as mp::process.   Processes: process-bound.
struct process_hooks {
  /// Its start() will give it a process group of its own and let it ignore SIGINT. Throws: error{already_started}.
  static void lead_own_group(process& p);
  /// What is_known_to_have_ended() looks at. Throws: error{not_started}, error{closed}.
  static std::shared_ptr<child> child_of(const process& p);
  /// It has ended, and its status is here. No more than a look: where its fork server has yet to say so, false.
  static bool is_known_to_have_ended(child& c) noexcept;
  /// Status, failure, name, pid and what it used, once it has ended; nullopt: it runs. Throws: as exit_status.
  static std::optional<mp::post_mortem> post_mortem(const process& p);
  /// start(), called off when `give_up` becomes readable: then it throws error{cancelled}, and no child is left.
  static void start(process& p, int give_up);
  /// Any signal, to this child only; nothing if it has ended. Throws: error{not_started}, error{closed}.
  static void signal(process& p, int number);
  /// The calling process's command line becomes "PROGRAM: WHAT", as ps and top show it; where the kernel refuses that, it
  /// stays. Not thread-safe: at the process's beginning.
  static void show_as(std::string_view what) noexcept;
};

}  // namespace mp::detail
