// Closing a descriptor. Must never retry: on Linux close() has let go of the number even when it reports EINTR.

#include "mp/unique_fd.hpp"

#include <unistd.h>
#include <cerrno>

namespace mp {

void unique_fd::reset(int fd) noexcept {
  const int old = std::exchange(fd_, fd < 0 ? -1 : fd);
  if (old < 0) return;
  const int saved = errno;
  ::close(old);
  errno = saved;
}

}  // namespace mp
