// A second descriptor for a message that may still fail. Must never leave it open in a child.

#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"

#include <fcntl.h>
#include <cerrno>

namespace mp::detail {

unique_fd duplicate(const unique_fd& fd) {
  const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0)
    throw_system_error(errc::invalid_argument, "a descriptor that goes with a message cannot be copied", errno);
  return unique_fd(copy);
}

}  // namespace mp::detail
