#pragma once
/// @file
/// Keeps the library's descriptors away from 0, 1 and 2, which programs close and reopen at will.
///
/// Threads:  free functions.         Processes: any.

#include "mp/unique_fd.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace mp::os {

/// The same open file under a number above 2. If there is no room for one, under the old number.
inline unique_fd above_stdio(unique_fd fd) noexcept {
  if (fd.get() < 0 || fd.get() > STDERR_FILENO) return fd;
  const int moved = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  return moved >= 0 ? unique_fd(moved) : std::move(fd);
}

/// Opens /dev/null for those of 0, 1 and 2 that are closed, so that no other file can become one of them.
inline void fill_stdio() noexcept {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) static_cast<void>(::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY));
}

}  // namespace mp::os
