#pragma once
/// @file
/// Copies of many bytes, which caches cannot hold: written past them, so that no line is read only to be overwritten.
/// Not for users.
///
/// Threads:  thread-safe.            Processes: any.
/// Source:   bench/README.md, where the time of 8 MiB goes.

#include <cstddef>
#include <cstring>

namespace mp::detail {

/// From this size on: more than a core's own caches, and most of its share of the last one.
inline constexpr std::size_t past_caches_from = std::size_t{4} << 20;

/// As memcpy.
void copy_past_caches(void* to, const void* from, std::size_t n) noexcept;

/// As memcpy, for any length; both may be null if `n` is 0.
inline void copy_bytes(void* to, const void* from, std::size_t n) noexcept {
  if (n >= past_caches_from) [[unlikely]]
    copy_past_caches(to, from, n);
  else if (n != 0)
    std::memcpy(to, from, n);
}

}  // namespace mp::detail
