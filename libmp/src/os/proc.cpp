// Readers of /proc. Must tolerate that a file is missing, unreadable or strange: then nothing is known.

#include "os/proc.hpp"

#include "mp/unique_fd.hpp"
#include "os/fork_guard.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

namespace mp::os {
namespace {

// These files come in one piece.
std::size_t read_from_start(int fd, char* room, std::size_t size) noexcept {
  ssize_t got;
  while ((got = ::pread(fd, room, size, 0)) < 0 && errno == EINTR) {
  }
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

std::size_t read_into(const char* path, char* room, std::size_t size) noexcept {
  errno = 0;
  const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  return fd ? read_from_start(fd.get(), room, size) : 0;
}

// Files about this process that every start looks at, kept open: opening them would take longer than reading them.
struct own_files {
  const std::uint64_t generation = fork_generation();
  const guarded_fd status{unique_fd(::open("/proc/self/status", O_RDONLY | O_CLOEXEC))};
  const guarded_fd cgroup{unique_fd(::open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC))};
  const guarded_fd namespaces{unique_fd(::open("/proc/self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC))};
  bool all_open() const noexcept { return status && cgroup && namespaces; }

  // Never destroyed once they are all open: another thread may be reading. A forked child opens its own.
  static const own_files* get() {
    static std::atomic<own_files*> instance{nullptr};
    own_files* now = instance.load(std::memory_order_acquire);
    while (!now || now->generation != fork_generation()) {
      auto fresh = std::make_unique<own_files>();
      if (!fresh->all_open()) return nullptr;
      if (instance.compare_exchange_strong(now, fresh.get(), std::memory_order_acq_rel)) return fresh.release();
    }
    return now;
  }
};

template <class Number>
std::optional<Number> to_number(std::string_view text, int base = 10) noexcept {
  Number value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (problem != std::errc{}) return std::nullopt;
  return value;
}

// Field `number` (from 3) of /proc/PID/stat: the second, the name, may hold blanks and brackets.
std::optional<std::string_view> stat_field(std::string_view stat, int number) noexcept {
  const auto bracket = stat.rfind(')');
  if (bracket == std::string_view::npos || bracket + 2 > stat.size()) return std::nullopt;
  stat.remove_prefix(bracket + 2);
  for (int n = 3; n < number; ++n) {
    const auto blank = stat.find(' ');
    if (blank == std::string_view::npos) return std::nullopt;
    stat.remove_prefix(blank + 1);
  }
  return stat.substr(0, stat.find_first_of(" \n"));
}

std::string_view next_line(std::string_view& text) noexcept {
  const auto end = text.find('\n');
  const auto line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

bool starts_with_any(std::string_view line, std::initializer_list<std::string_view> names) noexcept {
  return std::ranges::any_of(names, [&](std::string_view name) { return line.starts_with(name); });
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

void take_smaller(std::optional<double>& best, double quota) {
  if (quota > 0 && (!best || quota < *best)) best = quota;
}

// Every directory from the group itself up to the mount: a parent's quota binds, too.
template <class Reader>
void for_each_ancestor(const std::string& mount, std::string path, Reader read) {
  for (;;) {
    read(mount + (path == "/" ? "" : path));
    if (path.empty() || path == "/") return;
    const auto slash = path.rfind('/');
    path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }
}

}  // namespace

std::string read_file(const char* path) {
  std::string text(4096, '\0');
  std::size_t have = 0;
  const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  for (;;) {
    const ssize_t got = ::read(fd.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
    if (have == text.size()) text.resize(text.size() * 2);
  }
  text.resize(have);
  return text;
}

int thread_count() noexcept {
  // The links of the directory: itself, its parent, and one for each thread.
  struct stat info;
  if (::stat("/proc/self/task", &info) != 0 || info.st_nlink < 3) return 0;
  return static_cast<int>(info.st_nlink) - 2;
}

std::uint64_t start_time_of(pid_t pid) noexcept {
  char path[32], text[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  const auto field = stat_field({text, read_into(path, text, sizeof text)}, 22);
  return field ? to_number<std::uint64_t>(*field).value_or(0) : 0;
}

bool is_running(pid_t pid, std::uint64_t start_time) noexcept {
  char path[32], text[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  // One reading for both questions: between two the process can be reaped, which would look like life.
  const std::string_view stat(text, read_into(path, text, sizeof text));
  if (stat.empty()) return start_time == 0 && (::kill(pid, 0) == 0 || errno == EPERM);
  const auto state = stat_field(stat, 3), threads = stat_field(stat, 20), started = stat_field(stat, 22);
  if (!state || !threads || !started || to_number<std::uint64_t>(*started) != start_time) return false;
  const bool first_thread_ended = *state == "Z" || *state == "X" || *state == "x";
  return !first_thread_ended || to_number<int>(*threads).value_or(0) > 1;
}

bool is_stopped(pid_t pid) noexcept {
  char path[32], text[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  const auto state = stat_field({text, read_into(path, text, sizeof text)}, 3);
  return state == "T" || state == "t";
}

std::optional<int> zombie_exit_code(pid_t pid) noexcept {
  char path[32], text[4096];
  // The kernel prints 0 instead of the code to those who may not trace the process, so first make sure that we may:
  // all of its ids are ours.
  std::snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(pid));
  std::string_view status(text, read_into(path, text, sizeof text));
  bool ours = false;
  while (!status.empty()) {
    const auto line = next_line(status);
    unsigned ids[4];
    if (line.starts_with("Uid:") &&
        std::sscanf(std::string(line).c_str(), "Uid: %u %u %u %u", ids, ids + 1, ids + 2, ids + 3) == 4)
      ours = std::ranges::all_of(ids, [](unsigned id) { return id == ::geteuid(); });
  }
  if (!ours) return std::nullopt;
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  const std::string_view stat(text, read_into(path, text, sizeof text));
  if (stat_field(stat, 3) != "Z") return std::nullopt;
  const auto field = stat_field(stat, 52);
  return field ? to_number<int>(*field) : std::nullopt;
}

placement read_placement() {
  placement found;
  found.text.reserve(1024);
  char text[8192];
  const own_files* const files = own_files::get();
  if (!files) return found;
  std::string_view status(text, read_from_start(files->status.get(), text, sizeof text));
  if (status.empty()) return found;
  while (!status.empty()) {
    const auto line = next_line(status);
    if (line.starts_with("Umask:")) {
      const auto digits = line.substr(std::min(line.size(), line.find_first_of("01234567")));
      if (const auto mask = to_number<unsigned>(digits, 8)) found.umask = static_cast<mode_t>(*mask);
    } else if (starts_with_any(line, {"Uid:", "Gid:", "Groups:", "NSpid:", "Cap", "NoNewPrivs:", "Seccomp"})) {
      found.text.append(line).push_back('\n');
    }
  }
  found.text.append(text, read_from_start(files->cgroup.get(), text, sizeof text));
  for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts"}) {
    char link[64];
    const ssize_t length = ::readlinkat(files->namespaces.get(), name, link, sizeof link);
    if (length > 0) found.text.append(link, static_cast<std::size_t>(length)).push_back('\n');
  }
  found.text += std::to_string(::getsid(0));
  return found;
}

std::optional<double> cgroup_cpu_quota(const std::string& root, const std::string& membership) {
  std::optional<double> best;
  std::string_view lines = membership;
  while (!lines.empty()) {
    const auto line = next_line(lines);
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string controllers(line.substr(first + 1, second - first - 1));
    const std::string path(line.substr(second + 1));
    if (controllers.empty()) {
      // Version 2, alone at the root or beside version 1.
      for (const std::string& mount : {root, root + "/unified"})
        for_each_ancestor(mount, path, [&](const std::string& folder) {
          double quota = 0, period = 0;
          if (std::sscanf(read_file((folder + "/cpu.max").c_str()).c_str(), "%lf %lf", &quota, &period) == 2 &&
              period > 0)
            take_smaller(best, quota / period);
        });
      continue;
    }
    const std::string padded = "," + controllers + ",";
    if (padded.find(",cpu,") == std::string::npos) continue;
    for (const std::string& mount : {root + "/" + controllers, root + "/cpu", root + "/cpu,cpuacct"})
      for_each_ancestor(mount, path, [&](const std::string& folder) {
        const auto quota = to_number<long long>(trimmed(read_file((folder + "/cpu.cfs_quota_us").c_str())));
        const auto period = to_number<long long>(trimmed(read_file((folder + "/cpu.cfs_period_us").c_str())));
        if (quota && period && *quota > 0 && *period > 0)
          take_smaller(best, static_cast<double>(*quota) / static_cast<double>(*period));
      });
  }
  return best;
}

int usable_cpus() {
  int count = 0;
  // The kernel's mask may be wider than cpu_set_t: grow until it fits.
  for (int wide = 1024; wide <= 1 << 18 && count == 0; wide *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(wide), [](cpu_set_t* s) { CPU_FREE(s); });
    const std::size_t bytes = CPU_ALLOC_SIZE(wide);
    if (!set) break;
    if (::sched_getaffinity(0, bytes, set.get()) == 0)
      count = CPU_COUNT_S(bytes, set.get());
    else if (errno != EINVAL)
      break;
  }
  if (count == 0) count = static_cast<int>(std::thread::hardware_concurrency());
  if (const auto quota = cgroup_cpu_quota("/sys/fs/cgroup", read_file("/proc/self/cgroup")))
    count = std::min(count, static_cast<int>(std::ceil(*quota)));
  return std::max(count, 1);
}

}  // namespace mp::os
