// Reads /proc. Must not open a descriptor that it then counts itself.

#include "support/fd_ledger.hpp"

#include "support/patience.hpp"

#include "mp/detail/async.hpp"
#include "mp/process.hpp"

#include <dirent.h>
#include <unistd.h>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

namespace mp_test {
namespace {

std::vector<int> numbers_in(const char* directory, int* self) {
  std::vector<int> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory), &::closedir);
  if (!dir) return found;
  if (self) *self = ::dirfd(dir.get());
  while (const dirent* entry = ::readdir(dir.get())) {
    char* end = nullptr;
    const long n = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == 0) found.push_back(static_cast<int>(n));
  }
  return found;
}

std::string link_text(const std::string& path) {
  char text[512];
  const ssize_t n = ::readlink(path.c_str(), text, sizeof text);
  return n < 0 ? std::string() : std::string(text, static_cast<std::size_t>(n));
}

std::string state_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(in, line);
  const auto open = line.find('('), close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 >= line.size()) return "?";
  return std::string(1, line[close + 2]) + " " + line.substr(open, close - open + 1);
}

// "socket:[123]" -> "socket": one may be exchanged for another, as the child that is forked ahead of the next start is.
std::string kind_of(const std::string& what) { return what.substr(0, what.find(":[")); }

// Descriptors of the kinds of which there are more in these.
std::map<int, std::string> surplus(const std::map<int, std::string>& these, const std::map<int, std::string>& others) {
  std::map<std::string, int> balance;
  for (const auto& [fd, what] : these) ++balance[kind_of(what)];
  for (const auto& [fd, what] : others) --balance[kind_of(what)];
  std::map<int, std::string> found;
  for (const auto& [fd, what] : these)
    if (balance[kind_of(what)] > 0) found.emplace(fd, what);
  return found;
}

void list(std::ostream& out, const char* sign, const char* kind, const auto& these, const auto& others) {
  for (const auto& item : these) {
    if constexpr (requires { item.second; }) {
      const auto other = others.find(item.first);
      if (other == others.end() || other->second != item.second)
        out << sign << kind << ' ' << item.first << " = " << item.second << '\n';
    } else if (!others.contains(item)) {
      out << sign << kind << ' ' << item << '\n';
    }
  }
}

void nothing() {}

}  // namespace

holdings holdings::now() {
  holdings h;
  int self = -1;
  for (const int fd : numbers_in("/proc/self/fd", &self)) {
    const std::string what = link_text("/proc/self/fd/" + std::to_string(fd));
    if (fd != self && !what.empty()) h.descriptors.emplace(fd, what);
  }
  for (const int thread : numbers_in("/proc/self/task", nullptr)) {
    h.threads.insert(thread);
    std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/children");
    for (pid_t pid = 0; in >> pid;) h.children.emplace(pid, state_of(pid));
  }
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string range, rights, offset, device, inode;
    fields >> range >> rights >> offset >> device >> inode;
    ++h.memfd_maps[inode];
  }
  // The state of a running child changes by itself; only the zombie matters.
  for (auto& [pid, state] : h.children)
    if (state[0] != 'Z') state = "child " + state.substr(state.find(' ') + 1);
  return h;
}

fd_ledger::fd_ledger(bool may_become_fewer) : may_become_fewer_(may_become_fewer) {
  warm_up();
  before_ = holdings::now();
}

std::string fd_ledger::difference() const {
  const holdings after = holdings::now();
  std::ostringstream out;
  list(out, "+ ", "descriptor", surplus(after.descriptors, before_.descriptors), before_.descriptors);
  // Fewer: somebody closed what was not his. Where an earlier test's actors may have been on their way out when we began
  // to count, that says nothing.
  if (!may_become_fewer_)
    list(out, "- ", "descriptor", surplus(before_.descriptors, after.descriptors), after.descriptors);
  list(out, "+ ", "child", after.children, before_.children);
  list(out, "+ ", "memfd map", after.memfd_maps, before_.memfd_maps);
  list(out, "+ ", "thread", after.threads, before_.threads);
  return out.str();
}

bool fd_ledger::clean() const {
  return eventually([this] { return difference().empty(); }, std::chrono::seconds(5));
}

void warm_up() {
  static const bool done = [] {
    // Two: from the second on, a child is forked ahead of the next.
    for (int i = 0; i < 2; ++i) mp::process{nothing}.start().join();
    static_cast<void>(mp::detail::io_thread_ref());
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace mp_test
