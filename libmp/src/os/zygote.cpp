// The fork server's loop. Must never run with a second thread, and never reap a child before its status was sent.
// Decision 0001 says why it is the parent of what it forks.

#include "os/zygote.hpp"

#include "os/control.hpp"
#include "os/lifeline.hpp"
#include "os/pidfd.hpp"
#include "os/socket.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <unordered_map>
#include <vector>

namespace mp::os {
namespace {

// How soon a status is sent again whose socket was full.
constexpr int retry_ms = 10;

struct fork_server {
  int requests, lifeline;
  zygote_child enter;
  unique_fd tasks;    // /proc/self/task, to count threads
  unique_fd signals;  // SIGCHLD
  int own_from = 0;   // descriptors from here on belong to single children

  struct child_fds {
    unique_fd control;   // our duplicate of the child's end: the status goes through it
    unique_fd lifeline;  // keeps the child's lifeline armed even if the child closes its own descriptor
  };
  std::unordered_map<pid_t, child_fds> children;
  bool unsent = false;  // a status found its socket full

  int threads() const noexcept {
    struct stat info;
    return ::fstat(tasks.get(), &info) == 0 && info.st_nlink > 2 ? static_cast<int>(info.st_nlink) - 2 : 0;
  }

  // The number of a descriptor that belongs to one child only, so that close_range closes all of them in the others.
  unique_fd among_own(unique_fd fd) const noexcept {
    if (fd.get() < 0 || fd.get() >= own_from) return fd;
    return unique_fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, own_from));
  }

  [[noreturn]] void become_child(int control, int own_lifeline) noexcept {
    // Onto the two numbers that the server itself used; then all that belonged to it and its other children goes.
    ::dup3(control, requests, O_CLOEXEC);
    ::dup3(own_lifeline, lifeline, O_CLOEXEC);
    ::syscall(SYS_close_range, own_from, ~0u, 0);
    tasks.reset();
    signals.reset();
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGINT, SIG_DFL);
    enter(requests, lifeline);
    ::_exit(70);
  }

  void refuse(int control, zygote_refusal why) noexcept {
    send_control_now(control, control_kind::refused, &why, sizeof why);
  }

  void start_one(unique_fd control) {
    if (const int n = threads(); n != 1) return refuse(control.get(), {0, n});
    control = among_own(std::move(control));
    if (!control) return;  // the starter sees the end of its socket
    unique_fd own_lifeline(std::max(reopen_lifeline(lifeline), -1));
    own_lifeline = among_own(std::move(own_lifeline));
    if (!own_lifeline) return refuse(control.get(), {errno ? errno : EMFILE, 0});

    const pid_t pid = ::fork();
    if (pid == 0) become_child(control.get(), own_lifeline.get());
    if (pid < 0) return refuse(control.get(), {errno, 0});

    const unique_fd pidfd = open_pidfd(pid);
    if (!pidfd) {
      // Without a pidfd the starter could never name it: it did not start.
      const int problem = errno;
      ::kill(pid, SIGKILL);
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
      return refuse(control.get(), {problem, 0});
    }
    const zygote_started started{pid};
    const int fd = pidfd.get();
    send_control_now(control.get(), control_kind::started, &started, sizeof started, &fd, 1);
    children.try_emplace(pid, child_fds{std::move(control), std::move(own_lifeline)});
  }

  // False: nothing of this kind has ended, or its status cannot be sent yet.
  bool report(idtype_t which, pid_t wanted) {
    siginfo_t info{};
    zygote_status report;
    if (::syscall(SYS_waitid, which, wanted, &info, WEXITED | WNOHANG | WNOWAIT, &report.usage) != 0 ||
        info.si_pid == 0)
      return false;
    const auto found = children.find(info.si_pid);
    if (found != children.end()) {
      report.pid = info.si_pid;
      report.code = info.si_code;
      report.status = info.si_status;
      const int problem = send_control_now(found->second.control.get(), control_kind::status, &report, sizeof report);
      if (problem == EAGAIN || problem == ENOBUFS || problem == ENOMEM) {
        unsent = true;
        return false;
      }
      // Who waits for it may have been put behind us on this processor.
      ::sched_yield();
    }
    // Reported (or nobody is interested, or somebody in the preload function started it): now the number may go.
    while (::waitpid(info.si_pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (found != children.end()) children.erase(found);
    return true;
  }

  void report_all() {
    unsent = false;
    while (report(P_ALL, 0)) {
    }
    if (!unsent) return;
    // One status is stuck and would be found first again and again: ask for each child by itself.
    std::vector<pid_t> pids;
    for (const auto& [pid, fds] : children) pids.push_back(pid);
    for (const pid_t pid : pids) report(P_PID, pid);
  }

  [[noreturn]] void run() {
    std::vector<unique_fd> fds;
    for (;;) {
      pollfd polled[2]{{requests, POLLIN, 0}, {signals.get(), POLLIN, 0}};
      ::poll(polled, 2, unsent ? retry_ms : -1);
      if (polled[1].revents != 0) {
        signalfd_siginfo ignored;
        static_cast<void>(::read(signals.get(), &ignored, sizeof ignored));
      }
      if (polled[1].revents != 0 || unsent) report_all();
      if (polled[0].revents == 0) continue;
      fds.clear();
      std::byte room[sizeof(control_header)];
      const received got = recv_with_fds(requests, room, fds, MSG_DONTWAIT);
      if (got.bytes == 0) ::_exit(0);  // the process we serve has let go of us; its children live on
      if (got.bytes > 0 && !got.truncated && fds.size() == 1) start_one(std::move(fds[0]));
    }
  }
};

int highest_fd() noexcept {
  int highest = STDERR_FILENO;
  if (DIR* folder = ::opendir("/proc/self/fd")) {
    while (const dirent* entry = ::readdir(folder))
      if (const int fd = std::atoi(entry->d_name); fd != ::dirfd(folder)) highest = std::max(highest, fd);
    ::closedir(folder);
  }
  return highest;
}

}  // namespace

void serve_zygote(int requests, int lifeline, zygote_child child) {
  fork_server server{requests, lifeline, child, {}, {}, 0, {}, false};
  sigset_t only_child;
  ::sigemptyset(&only_child);
  ::sigaddset(&only_child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &only_child, nullptr);
  server.tasks = unique_fd(::open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC));
  server.signals = unique_fd(::signalfd(-1, &only_child, SFD_CLOEXEC | SFD_NONBLOCK));
  server.own_from = highest_fd() + 1;
  server.children.reserve(64);
  server.run();
}

}  // namespace mp::os
