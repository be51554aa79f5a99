#pragma once
/// @file
/// What a queue or a pipe is made with.
///
/// Shape:    aggregates; every field has a default; name the fields in this order.
/// Threads:  values.                 Processes: copied.

#include "mp/detail/channel.hpp"
#include "mp/duration.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace mp {

/// Of `queue` and `joinable_queue`.
///
/// Threads:  a value.   Processes: copied.
struct queue_options {
  std::ptrdiff_t maxsize = 0;  ///< items that wait; 0: no limit. A negative one throws invalid_argument
  std::size_t max_bytes = 0;   ///< bytes that wait; 0: 1 GiB. A longer message is taken when it is alone
  mp::on_death on_consumer_death = mp::on_death::report;
  mp::transport transport{};
};

/// Of `pipe`, `duplex_pipe` and `connection::pair`.
///
/// Threads:  a value.   Processes: copied.
struct pipe_options {
  std::ptrdiff_t maxsize = 0;  ///< as in queue_options
  /// 0: 64 KiB of small messages and 8 MiB of large ones, so that a writer stays near its reader. A pipe over sockets
  /// has the kernel's bound instead: as many messages as fit into a socket's buffer, large ones in memory of their own
  std::size_t max_bytes = 0;
  mp::transport transport{};
};

namespace detail {

/// Checks what the user wrote; throws invalid_argument naming `noun`.
channel_options to_channel_options(const queue_options&, const char* noun, bool joinable, std::uint64_t type_hash);
channel_options to_channel_options(const pipe_options&, const char* noun, std::uint64_t type_hash);

/// A count that the caller wrote: throws invalid_argument if it is negative.
std::size_t checked_count(std::ptrdiff_t n, const char* noun, const char* what);
/// Any integral count as the one of the options; one that does not fit becomes the largest.
template <std::integral N>
constexpr std::ptrdiff_t to_count(N n) noexcept {
  return std::in_range<std::ptrdiff_t>(n) ? static_cast<std::ptrdiff_t>(n) : PTRDIFF_MAX;
}
/// task_done() was called more often than items were got: error{invalid_argument}.
[[noreturn]] void throw_too_many_done();

}  // namespace detail
}  // namespace mp
