#pragma once
// Large arguments that know themselves.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mp_test {

inline constexpr std::size_t kib = 1024, mib = 1024 * kib;

/// Every word says whose it is: bytes of two arguments are never taken for one.
inline std::vector<std::uint64_t> argument(std::uint64_t number, std::size_t bytes) {
  std::vector<std::uint64_t> v(bytes / 8 + 1);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = number << 32 | i;
  return v;
}
/// Its number; -1 if it is not whole.
inline std::int64_t number_of(const std::vector<std::uint64_t>& v) {
  for (std::size_t i = 0; i < v.size(); ++i)
    if ((v[i] & 0xffffffff) != i || v[i] >> 32 != v[0] >> 32) return -1;
  return static_cast<std::int64_t>(v.empty() ? 0 : v[0] >> 32);
}

}  // namespace mp_test
