#pragma once
/// @file
/// Lengths of time and moments, as every waiting function takes them.
///
/// Model:    std::chrono, but saturating: no length of time that a caller can write overflows.
/// Shape:    nanoseconds in 64 bits; CLOCK_MONOTONIC everywhere, a change of the wall clock has no effect.
/// Threads:  values.                 Processes: copied.

#include "mp/detail/std_parts.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

namespace mp {

/// A moment of the monotonic clock. Moments of other clocks do not convert.
using time_point = std::chrono::steady_clock::time_point;

/// A length of time that saturates: `hours::max()` is for ever, a negative length is 0, NaN is 0. `0.5s` is fine.
///
/// Threads:  a value.   Processes: copied.
class duration {
public:
  constexpr duration() noexcept = default;

  template <class Rep, class Period>
  constexpr duration(std::chrono::duration<Rep, Period> d) noexcept : ns_(saturate(d)) {}

  /// A length that no wait outlives.
  static constexpr duration forever() noexcept {
    duration d;
    d.ns_ = most;
    return d;
  }
  constexpr bool is_forever() const noexcept { return ns_ == most; }
  constexpr std::chrono::nanoseconds count() const noexcept { return std::chrono::nanoseconds(ns_); }

  friend constexpr auto operator<=>(const duration&, const duration&) noexcept = default;

private:
  static constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

  template <class Rep, class Period>
  static constexpr std::int64_t saturate(std::chrono::duration<Rep, Period> d) noexcept {
    // long double holds every 64-bit integer exactly, so the comparison is right at the edge.
    const long double ns = static_cast<long double>(d.count()) * Period::num / Period::den * 1000000000.0L;
    if (!(ns > 0)) return 0;
    if (ns >= static_cast<long double>(most)) return most;
    if constexpr (std::is_floating_point_v<Rep>)
      return static_cast<std::int64_t>(ns);
    else
      return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
  }

  std::int64_t ns_ = 0;
};

/// When a wait of length `limit` that begins at `now` is over; `time_point::max()` if never.
constexpr time_point deadline_after(time_point now, duration limit) noexcept {
  if (limit.is_forever() || limit.count() >= time_point::max() - now) return time_point::max();
  return now + std::chrono::duration_cast<time_point::duration>(limit.count());
}

namespace literals {
constexpr std::size_t operator""_KiB(unsigned long long n) { return static_cast<std::size_t>(n) << 10; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return static_cast<std::size_t>(n) << 20; }
constexpr std::size_t operator""_GiB(unsigned long long n) { return static_cast<std::size_t>(n) << 30; }
}  // namespace literals

}  // namespace mp
