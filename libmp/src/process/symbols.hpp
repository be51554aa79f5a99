#pragma once
/// @file
/// Names for code addresses, as text with one frame a line.
///
/// Threads:  free functions.         Processes: addresses of the calling one.

#include <span>
#include <string>

namespace mp::detail {

/// The return addresses of a throw: "#0 work(int)+0x1f in program", one line a frame, the user's frames only.
std::string name_addresses(std::span<void* const> addresses);

}  // namespace mp::detail
