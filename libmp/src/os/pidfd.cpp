// Processes as descriptors. Must never invent a status: every source below either knows or is silent.

#include "os/pidfd.hpp"

#include "os/proc.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace mp::os {
namespace {

// P_PIDFD and the ioctl below are younger than the headers of the oldest system we build on.
constexpr auto by_pidfd = static_cast<idtype_t>(3);

// The first version of struct pidfd_info (linux/pidfd.h of 6.13; its exit code came with 6.15).
struct pidfd_info {
  std::uint64_t mask, cgroup;
  std::uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  std::int32_t exit_code;
};
static_assert(sizeof(pidfd_info) == 64);
constexpr std::uint64_t with_exit_code = 1u << 3;
constexpr unsigned long get_info = _IOWR(0xFF, 11, pidfd_info);

mp::exit_status from_wait_word(int word) noexcept {
  if (WIFSIGNALED(word)) return mp::exit_status::signaled(WTERMSIG(word), WCOREDUMP(word));
  return mp::exit_status::exited(WEXITSTATUS(word));
}

// The number of the process, -1 once it was reaped, 0: /proc does not say.
pid_t pid_behind(int pidfd) noexcept {
  std::array<char, 48> path;
  std::snprintf(path.data(), path.size(), "/proc/self/fdinfo/%d", pidfd);
  const unique_fd file(::open(path.data(), O_RDONLY | O_CLOEXEC));
  std::array<char, 512> text;
  const ssize_t n = file ? ::read(file.get(), text.data(), text.size() - 1) : 0;
  if (n <= 0) return 0;
  text[static_cast<std::size_t>(n)] = 0;
  constexpr std::string_view word = "\nPid:";
  const char* const line = std::strstr(text.data(), word.data());
  return line ? static_cast<pid_t>(std::strtol(line + word.size(), nullptr, 10)) : 0;
}

}  // namespace

unique_fd open_pidfd(pid_t pid) noexcept { return unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

int send_signal(int pidfd, int signal) noexcept {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return 0;
  // A filter that does not know the call (old containers') says one of these. Whose number it is, the kernel still
  // tells; it is -1 once the process was reaped. Between the two calls it would have to be given anew.
  const int problem = errno;
  if (problem != EPERM && problem != ENOSYS) return problem;
  const pid_t pid = pid_behind(pidfd);
  if (pid <= 0) return pid < 0 ? ESRCH : problem;
  return ::kill(pid, signal) == 0 ? 0 : errno;
}

int poll_timeout(time_point until) noexcept {
  if (until == time_point::max()) return -1;
  const auto now = std::chrono::steady_clock::now();
  if (until <= now) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  return static_cast<int>(std::min<std::int64_t>(left, INT_MAX));
}

two_ready wait_either(int first, int second, time_point until, int give_up) noexcept {
  pollfd polled[3]{{first, POLLIN, 0}, {second, POLLIN, 0}, {give_up, POLLIN, 0}};
  for (;;) {
    const int n = ::poll(polled, 3, poll_timeout(until));
    if (n > 0) return {polled[0].revents != 0, polled[1].revents != 0};
    if (n < 0 && errno != EINTR) return {true, true};  // no memory for poll: look yourself
    if (std::chrono::steady_clock::now() >= until) return {};
  }
}

bool wait_writable(int fd, time_point until, int give_up) noexcept {
  pollfd polled[2]{{fd, POLLOUT, 0}, {give_up, POLLIN, 0}};
  while (::poll(polled, 2, poll_timeout(until)) <= 0)
    if (std::chrono::steady_clock::now() >= until) return false;
  return polled[0].revents != 0;
}

bool is_readable(int fd) noexcept { return wait_either(fd, -1, time_point::min()).first; }

bool has_ended(int pidfd) noexcept { return is_readable(pidfd); }
bool wait_ended(int pidfd, time_point until) noexcept { return wait_either(pidfd, -1, until).first; }

mp::exit_status to_exit_status(int code, int status) noexcept {
  switch (code) {
    case CLD_EXITED: return mp::exit_status::exited(status);
    case CLD_KILLED: return mp::exit_status::signaled(status, false);
    case CLD_DUMPED: return mp::exit_status::signaled(status, true);
    default: return {};
  }
}

std::optional<ended> wait_own(int pidfd) noexcept {
  siginfo_t info{};
  ended result;
  for (;;) {
    // The system call itself, for its fifth argument: what the child used.
    const long done = ::syscall(SYS_waitid, by_pidfd, pidfd, &info, WEXITED | WNOHANG, &result.usage);
    if (done == 0) break;
    if (errno != EINTR) return std::nullopt;
  }
  if (info.si_pid == 0) return std::nullopt;  // still running
  result.status = to_exit_status(info.si_code, info.si_status);
  return result;
}

std::optional<mp::exit_status> ask_kernel(int pidfd) noexcept {
  pidfd_info info{};
  info.mask = with_exit_code;
  if (::ioctl(pidfd, get_info, &info) != 0 || (info.mask & with_exit_code) == 0) return std::nullopt;
  return from_wait_word(info.exit_code);
}

std::optional<mp::exit_status> ask_zombie(pid_t pid, int pidfd) noexcept {
  // While signal 0 reaches it through the pidfd, the number is still its own; asked again after the reading.
  if (send_signal(pidfd, 0) != 0) return std::nullopt;
  const auto word = zombie_exit_code(pid);
  if (!word || send_signal(pidfd, 0) != 0) return std::nullopt;
  return from_wait_word(*word);
}

process_id identify_process(pid_t pid) noexcept { return {pid, start_time_of(pid)}; }

}  // namespace mp::os
