// The plain values of floor 5.

#include "mp/restart_limits.hpp"  // IWYU pragma: keep: compiled once by itself
#include "mp/verdict.hpp"

namespace mp {

bool verdict::clean() const noexcept { return killed.empty() && leaked.empty(); }

}  // namespace mp
