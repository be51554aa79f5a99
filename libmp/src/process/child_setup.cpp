// The child's set-up. Must be over, and have been reported, before a byte of the call is decoded.

#include "process/child_setup.hpp"
#include "process/mailbox_link.hpp"

#include "os/stdio_numbers.hpp"
#include "process/surroundings.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace mp::detail {
namespace {

std::string problem(const std::string& what) { return what + ": " + std::strerror(errno); }

const char* limit_name(int resource) noexcept {
  switch (resource) {
    case RLIMIT_AS: return "memory";
    case RLIMIT_STACK: return "stack";
    case RLIMIT_CORE: return "core";
    case RLIMIT_FSIZE: return "file_size";
    case RLIMIT_NOFILE: return "open_files";
    case RLIMIT_CPU: return "cpu_time";
    default: return "a resource";
  }
}

// Lowers the hard limit, too, where the soft one says so; never asks for more than it may have.
std::string set_limit(const limit_setting& l) {
  rlimit now{};
  const auto resource = static_cast<__rlimit_resource_t>(l.resource);
  ::getrlimit(resource, &now);
  rlimit wanted{l.soft, l.hard};
  // CPU time: the kernel sends SIGXCPU at the soft limit and SIGKILL at the hard one.
  if (::setrlimit(resource, &wanted) == 0) return {};
  if (errno == EPERM && wanted.rlim_max > now.rlim_max) {
    wanted.rlim_max = now.rlim_max;
    wanted.rlim_cur = wanted.rlim_cur < now.rlim_max ? wanted.rlim_cur : now.rlim_max;
    if (::setrlimit(resource, &wanted) == 0) return {};
  }
  return problem(std::string("cannot limit ") + limit_name(l.resource) + " to " + std::to_string(l.soft));
}

}  // namespace

std::string set_up_child(start_message& m, std::vector<unique_fd>& fds) {
  std::size_t next = 0;
  const auto take = [&]() -> unique_fd { return next < fds.size() ? std::move(fds[next++]) : unique_fd(); };
  unique_fd directory, streams[3];
  if (!m.mailbox.empty()) {
    packed_mailbox parent{std::move(m.mailbox), {}};
    parent.fds.push_back(take());
    parent.fds.push_back(take());
    set_parent_address(std::move(parent), m.parent_pid);
  }
  if (m.enters_directory) directory = take();
  for (std::size_t i = 0; i < 3; ++i)
    if (m.streams[i]) streams[i] = os::above_stdio(take());
  fds.erase(fds.begin(), fds.begin() + static_cast<std::ptrdiff_t>(next));

  if (m.enters_directory && ::fchdir(directory.get()) != 0) return problem("cannot enter the parent's directory");
  if (!m.working_directory.empty() && ::chdir(m.working_directory.c_str()) != 0)
    return problem("cannot enter the directory " + m.working_directory);
  for (int i = 0; i < 3; ++i)
    if (streams[i] && ::dup2(streams[i].get(), i) < 0) return problem("cannot connect its standard streams");
  if (m.environment) replace_environment(*m.environment);
  // The group may have ended with its last member, or be in another session by now: then the child stays where it is.
  if (m.group) static_cast<void>(::setpgid(0, *m.group));
  if (m.ignores_interrupt) ::signal(SIGINT, SIG_IGN);
  if (!m.affinity.empty() && ::syscall(SYS_sched_setaffinity, 0, m.affinity.size(), m.affinity.data()) != 0)
    return problem("cannot bind it to its processors");
  if (m.nice != 0) {
    errno = 0;
    if (::nice(m.nice) == -1 && errno != 0) return problem("cannot change its nice value");
  }
  for (const limit_setting& l : m.limits)
    if (auto text = set_limit(l); !text.empty()) return text;
  ::prctl(PR_SET_NAME, m.name.c_str());
  return {};
}

}  // namespace mp::detail
