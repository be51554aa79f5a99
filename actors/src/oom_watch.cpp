// The kernel's count of what its OOM killer killed. Must blame it only if the count has moved.

#include "oom_watch.hpp"

#include "mp/unique_fd.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace mp::detail {
namespace {

std::string read_file(const char* path) {
  const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd) return text;
  std::array<char, 4096> block;
  for (;;) {
    const ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n <= 0) return text;
    text.append(block.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace

std::optional<std::uint64_t> oom_kills_in(std::string_view text) noexcept {
  constexpr std::string_view word = "oom_kill ";
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    if (at != 0 && text[at - 1] != '\n') continue;
    std::uint64_t number = 0;
    const char* const begin = text.data() + at + word.size();
    if (std::from_chars(begin, text.data() + text.size(), number).ec == std::errc()) return number;
  }
  return std::nullopt;
}

std::vector<std::string> oom_files(std::string_view groups) {
  std::vector<std::string> files;
  // Lines of "number:controllers:path"; without controllers it is the one hierarchy of version 2.
  for (std::size_t begin = 0; begin < groups.size();) {
    const std::size_t end = std::min(groups.find('\n', begin), groups.size());
    const std::string_view line = groups.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t first = line.find(':'), second = line.find(':', first == line.npos ? first : first + 1);
    if (second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string path(line.substr(second + 1) == "/" ? std::string_view() : line.substr(second + 1));
    if (controllers.empty()) files.push_back("/sys/fs/cgroup" + path + "/memory.events");
    if ((',' + std::string(controllers) + ',').find(",memory,") != std::string::npos)
      files.push_back("/sys/fs/cgroup/memory" + path + "/memory.oom_control");
  }
  files.push_back("/proc/vmstat");
  return files;
}

oom_watch::oom_watch() {
  for (auto& file : oom_files(read_file("/proc/self/cgroup"))) {
    file_ = std::move(file);
    if ((seen_ = read())) return;
  }
}

oom_watch::oom_watch(std::string file) : file_(std::move(file)) { seen_ = read(); }

std::optional<std::uint64_t> oom_watch::read() const noexcept {
  try {
    return oom_kills_in(read_file(file_.c_str()));
  } catch (...) {
    return std::nullopt;
  }
}

death oom_watch::explain() noexcept {
  const std::lock_guard lock(mutex_);
  const auto now = read(), before = std::exchange(seen_, now);
  if (!now || !before) return death::unknown;
  return *now != *before ? death::oom_killer : death::signaled;
}

}  // namespace mp::detail
