#pragma once
// The short and the long form of a test (./tests/run --long), and what tests have measured: printed, never asserted.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace mp_test {

inline bool long_form() { return std::getenv("MP_TEST_LONG") != nullptr; }
inline int rounds(int in_short, int in_long) { return long_form() ? in_long : in_short; }

/// Of nanoseconds, as a person reads them.
inline std::string spread(std::vector<std::int64_t> ns) {
  if (ns.empty()) return "no samples";
  std::sort(ns.begin(), ns.end());
  const auto at = [&](double share) {
    const auto i = static_cast<std::size_t>(share * static_cast<double>(ns.size() - 1) + 0.5);
    return static_cast<double>(ns[i]) / 1e6;
  };
  std::ostringstream out;
  out.precision(3);
  out << "p50 " << at(0.5) << " ms, p99 " << at(0.99) << " ms, most " << at(1) << " ms (" << ns.size() << " samples)";
  return out.str();
}
inline void figure(const std::string& text) { std::cout << "figure: " << text << std::endl; }

}  // namespace mp_test
