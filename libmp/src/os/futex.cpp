// Registration for membarrier. Must be repeated in every process: exec forgets it.

#include "os/futex.hpp"

namespace mp::os {

bool register_heavy_barrier() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

}  // namespace mp::os
