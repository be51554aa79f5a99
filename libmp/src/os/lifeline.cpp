// The lifeline. Must arm first and look second: a parent that dies before the arming makes no signal.

#include "os/lifeline.hpp"

#include "mp/error.hpp"
#include "os/stdio_numbers.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>

namespace mp::os {

lifeline make_lifeline() {
  int raw[2];
  if (::pipe2(raw, O_CLOEXEC) != 0)
    mp::detail::throw_system_error(errc::out_of_resources, "cannot make the lifeline of child processes", errno);
  unique_fd read(raw[0]), write(raw[1]);
  // A pipe belongs to whom we are now. If we become somebody else later (setuid), our children must still be able to
  // open it anew. Others do not come so far as to be asked: they may not look into our /proc/self/fd.
  static_cast<void>(::fchmod(read.get(), 0444));
  return {guarded_fd(above_stdio(std::move(write))), above_stdio(std::move(read))};
}

int reopen_lifeline(int read_end) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", read_end);
  const int fd = ::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}

int arm_lifeline(int own_read_end) noexcept {
  if (::fcntl(own_read_end, F_SETOWN, ::getpid()) != 0 || ::fcntl(own_read_end, F_SETSIG, SIGKILL) != 0 ||
      ::fcntl(own_read_end, F_SETFL, O_ASYNC | O_NONBLOCK) != 0)
    return errno;
  if (!lifeline_is_up(own_read_end)) ::kill(::getpid(), SIGKILL);
  return 0;
}

bool lifeline_is_up(int read_end) noexcept {
  // Nobody ever writes: the only event is that the write end has gone.
  pollfd polled{read_end, POLLIN, 0};
  return ::poll(&polled, 1, 0) == 0;
}

}  // namespace mp::os
