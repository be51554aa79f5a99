// The surroundings of a start. Must read, never change: the umask is asked of /proc, not set and set back.

#include "process/surroundings.hpp"

#include "os/proc.hpp"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace mp::detail {

std::vector<std::string> read_environment() {
  std::vector<std::string> all;
  for (char** entry = environ; entry && *entry; ++entry) all.emplace_back(*entry);
  return all;
}

void replace_environment(const std::vector<std::string>& environment) {
  ::clearenv();
  for (const auto& entry : environment) {
    const auto equals = entry.find('=', 1);
    if (equals == std::string::npos) continue;
    ::setenv(entry.substr(0, equals).c_str(), entry.c_str() + equals + 1, 1);
  }
}

std::vector<std::byte> read_affinity() {
  // The system call gives the size that the kernel uses; glibc's wrapper hides it.
  for (std::size_t bytes = 128; bytes <= 32 * 1024; bytes *= 2) {
    std::vector<std::byte> mask(bytes);
    const long used = ::syscall(SYS_sched_getaffinity, 0, mask.size(), mask.data());
    if (used > 0) {
      mask.resize(static_cast<std::size_t>(used));
      return mask;
    }
    if (errno != EINVAL) break;
  }
  return {};
}

surroundings read_surroundings(bool with_placement) {
  surroundings now;
  now.environment = read_environment();
  struct stat folder {};
  if (::stat(".", &folder) == 0) now.directory = {folder.st_dev, folder.st_ino};
  for (unsigned i = 0; i < RLIM_NLIMITS; ++i) ::getrlimit(static_cast<__rlimit_resource_t>(i), &now.limits[i]);
  now.affinity = read_affinity();
  now.nice = ::getpriority(PRIO_PROCESS, 0);
  now.group = ::getpgrp();
  if (with_placement) read_placement_into(now);
  return now;
}

void read_placement_into(surroundings& now) {
  auto read = os::read_placement();
  now.umask = read.umask;
  now.placement = std::move(read.text);
}

}  // namespace mp::detail
