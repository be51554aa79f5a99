// clone, close, exec. Between the clone and the exec the child runs in the parent's memory: it must call nothing but
// system calls, and change nothing but its own arguments. Decision 0001 says why there is an exec at all.

#include "os/spawn.hpp"

#include "mp/error.hpp"
#include "os/lifeline.hpp"
#include "os/modules.hpp"
#include "os/signals.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace mp::os {
namespace {

constexpr const char mark_name[] = "MP_CHILD";
constexpr std::size_t pid_digits = 10;

// Thread sanitizer takes every clone for a fork and would count twice in a shared memory. There, a step that fails shows
// as a child that ended early.
#if defined(__SANITIZE_THREAD__)
constexpr int share_memory = 0;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr int share_memory = 0;
#else
constexpr int share_memory = CLONE_VM;
#endif
#else
constexpr int share_memory = CLONE_VM;
#endif

struct child_arguments {
  const spawn_plan* plan;
  char* const* argv;
  char* const* envp;
  char* pid_text;  // pid_digits characters inside the mark
  int image;
  int lifeline;                  // an open file description of this child's own
  int problem = 0;               // errno of the step that failed
  const char* step = "nothing";  // its name
};

[[noreturn]] void give_up(child_arguments& a, const char* step) noexcept {
  a.problem = errno;
  a.step = step;
  ::_exit(127);
}

int high(child_arguments& a, int fd) noexcept {
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, 16);
  if (moved < 0) give_up(a, "duplicating its descriptors");
  return moved;
}

int child(void* argument) noexcept {
  auto& a = *static_cast<child_arguments*>(argument);
  const spawn_plan& plan = *a.plan;
  if (plan.own_group) ::setpgid(0, 0);

  // First away from the numbers that are going to be used, then onto them.
  const int control = high(a, plan.control);
  const int lifeline = high(a, a.lifeline);
  const int image = high(a, a.image);
  const int standard[3]{plan.in, plan.out, plan.err};
  int from[3]{-1, -1, -1};
  for (int i = 0; i < 3; ++i)
    if (standard[i] >= 0) from[i] = high(a, standard[i]);
  for (int i = 0; i < 3; ++i)
    if (from[i] >= 0 && ::dup2(from[i], i) < 0) give_up(a, "connecting its standard streams");
  if (::dup2(control, spawned_control_fd) < 0 || ::dup2(lifeline, spawned_lifeline_fd) < 0 ||
      ::dup3(image, spawned_lifeline_fd + 1, O_CLOEXEC) < 0)
    give_up(a, "placing its descriptors");
  if (::syscall(SYS_close_range, spawned_lifeline_fd + 2, ~0u, 0) != 0) give_up(a, "close_range");
  // Before any code of the program runs: its static constructors may take for ever. The copy of the write end that came
  // with the clone is closed by now.
  if (arm_lifeline(spawned_lifeline_fd) != 0) give_up(a, "arming its lifeline");

  auto pid = static_cast<unsigned>(::getpid());
  for (std::size_t i = pid_digits; i-- > 0; pid /= 10) a.pid_text[i] = static_cast<char>('0' + pid % 10);
  ::syscall(SYS_execveat, spawned_lifeline_fd + 1, "", a.argv, a.envp, AT_EMPTY_PATH);
  give_up(a, "execveat of the running image");
}

std::vector<char*> pointers(const std::vector<std::string>& texts, char* extra = nullptr) {
  std::vector<char*> list;
  list.reserve(texts.size() + 2);
  for (const auto& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  if (extra) list.push_back(extra);
  list.push_back(nullptr);
  return list;
}

}  // namespace

spawned spawn_image(const spawn_plan& plan) {
  if (image_fd() < 0)
    mp::detail::throw_error(errc::start_failed, "the running program cannot be opened: is /proc mounted?");
  const unique_fd lifeline(std::max(reopen_lifeline(plan.lifeline), -1));
  if (!lifeline) mp::detail::throw_system_error(errc::start_failed, "cannot open the lifeline", errno);
  // Everything that needs memory happens before the clone.
  char mark[sizeof mark_name + 2 + pid_digits + 1];
  std::snprintf(mark, sizeof mark, "%s=%c:%010d", mark_name, static_cast<char>(plan.as), 0);
  const auto argv = pointers(plan.arguments);
  const auto envp = pointers(plan.environment, mark);
  child_arguments arguments{&plan, argv.data(), envp.data(), mark + sizeof mark_name + 2, image_fd(), lifeline.get()};

  alignas(16) std::byte stack[16 * 1024];  // system call wrappers need little; the caller sleeps until the exec
  int pidfd = -1;
  pid_t pid;
  int problem;
  {
    // A handler of the parent's must not run in the child while they share memory.
    const all_signals_blocked blocked;
    pid = ::clone(child, stack + sizeof stack, share_memory | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &arguments, &pidfd);
    problem = errno;
  }
  if (pid < 0) mp::detail::throw_system_error(errc::start_failed, "cannot start a process", problem);
  spawned result{pid, unique_fd(pidfd)};
  if (arguments.problem != 0) {
    siginfo_t info;
    while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | __WALL) != 0 && errno == EINTR) {
    }
    mp::detail::throw_system_error(errc::start_failed, std::string("cannot start a process: ") + arguments.step,
                                   arguments.problem);
  }
  return result;
}

std::optional<spawned_as> recognise_spawned() noexcept {
  const char* value = ::getenv(mark_name);
  if (!value) return std::nullopt;
  const char as = value[0];
  const bool formed = (as == static_cast<char>(spawned_as::worker) || as == static_cast<char>(spawned_as::zygote)) &&
                      value[1] == ':' && std::strlen(value) == 2 + pid_digits;
  const long pid = formed ? std::strtol(value + 2, nullptr, 10) : -1;
  // Children of this process must not find it, whoever starts them.
  ::unsetenv(mark_name);
  int type = 0;
  socklen_t size = sizeof type;
  if (pid != ::getpid() || ::getsockopt(spawned_control_fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET)
    return std::nullopt;
  ::fcntl(spawned_control_fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(spawned_lifeline_fd, F_SETFD, FD_CLOEXEC);
  return static_cast<spawned_as>(as);
}

}  // namespace mp::os
