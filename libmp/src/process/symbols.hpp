#pragma once
/// @file
/// Names for code addresses, as text with one frame a line.
///
/// Threads:  free functions.         Processes: addresses of the calling one.

#include <span>
#include <string>

namespace mp::detail {

/// "#0 work(int)+0x1f in ./program", one line a frame.
std::string name_addresses(std::span<void* const> addresses);
/// One frame: a name where there is one, else module and offset.
std::string name_address(const void* address);

}  // namespace mp::detail
