#pragma once
/// @file
/// What a child sends to its parent besides its status: failures, crashes, and the messages of upper floors.
///
/// Threads:  free functions.         Processes: both ends.
/// Source:   doc/process-model.md.

#include "mp/exit_status.hpp"
#include "mp/failure.hpp"
#include "os/control.hpp"

#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <vector>

namespace mp::detail {

class child;

/// Type name, text and nested causes of an exception; nothing it does can throw out of here.
mp::failure describe_exception(std::exception_ptr problem) noexcept;

std::vector<std::byte> encode_failure(const mp::failure&);
/// Throws error{undecodable}.
mp::failure decode_failure(std::span<const std::byte> bytes);

/// A crash handler's record as a failure, with names for its addresses.
mp::failure describe_crash(std::span<const std::byte> record, const mp::exit_status& status);
/// Is this a signal by which a program's own fault ends it?
bool is_crash_signal(int signal) noexcept;

/// Messages of kinds from control_kind::first_free on are given to whoever registered for them: in the parent on the
/// thread that waits for the child, in a child on its I/O thread. At most 16 kinds, registered before the first start.
using parent_handler = void (*)(child& from, os::control_message&& message);
using child_handler = void (*)(os::control_message&& message);
void on_message_in_parent(os::control_kind kind, parent_handler handler);
void on_message_in_child(os::control_kind kind, child_handler handler);
void deliver_to_parent(child& from, os::control_message&& message);
void deliver_to_child(os::control_message&& message);

}  // namespace mp::detail
