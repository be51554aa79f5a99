#pragma once
// The task on vectors that pools are compared with: 8 MiB of doubles in, as many out.

#include <cstddef>
#include <vector>

namespace bench {

inline constexpr std::size_t vector_length = (std::size_t{8} << 20) / sizeof(double);
inline constexpr int vector_tasks = 64, vector_rounds = 3;

inline void scale(const std::vector<double>& in, std::vector<double>& out) {
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = 2 * in[i];
}

}  // namespace bench
