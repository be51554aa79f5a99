// libmp: what an idle queue costs, and what a started child costs its parent. In memory that is there (resident) and
// memory that is promised (reserved: blocks allocated to memory files, and private memory).

#include <mp/init.hpp>
#include <mp/pipe.hpp>
#include <mp/process.hpp>
#include <mp/queue.hpp>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "../support/bench.hpp"

namespace {

using namespace bench;

struct footprint {
  double resident = 0;  // KiB: RssAnon + RssShmem
  double reserved = 0;  // KiB: RssAnon + blocks of the memory files that we hold
  double descriptors = 0;
};

double status_field(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field)) return std::strtod(line.c_str() + field.size(), nullptr);
  check(false, field.c_str());
  return 0;
}

footprint now() {
  footprint f;
  std::set<std::pair<dev_t, ino_t>> seen;
  double blocks = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    struct stat s {};
    if (stat(entry.path().c_str(), &s) != 0) continue;  // the directory we read
    ++f.descriptors;
    std::error_code ignored;
    const auto target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (target.starts_with("/memfd:") && seen.emplace(s.st_dev, s.st_ino).second)
      blocks += static_cast<double>(s.st_blocks) * 512 / 1024;
  }
  const auto anonymous = status_field("RssAnon:");
  f.resident = anonymous + status_field("RssShmem:");
  f.reserved = anonymous + blocks;
  return f;
}

void report(std::string_view name, const footprint& before, const footprint& after, double count, const char* prefix) {
  const identity me{"libmp", "libmp", "-"};
  const auto metric = [&](const char* what) { return std::string(prefix) + what; };
  emit(name, me, metric("resident").c_str(), (after.resident - before.resident) / count, "KiB");
  emit(name, me, metric("reserved").c_str(), (after.reserved - before.reserved) / count, "KiB");
  emit(name, me, metric("descriptors").c_str(), (after.descriptors - before.descriptors) / count, "each");
}

void queues() {
  constexpr std::size_t count = 64;
  std::vector<mp::queue<message>> q;
  q.reserve(count + 1);
  q.emplace_back();  // the first one of a process pays for what all share
  const auto before = now();
  for (std::size_t i = 0; i < count; ++i) q.emplace_back();
  const auto idle = now();
  for (auto& each : q) {
    each.put(message{});
    consume(each.get());
  }
  const auto used = now();
  report("memory-queue", before, idle, count, "");
  report("memory-queue", before, used, count, "used, ");
}

/// Lives until nobody is left who could put.
void wait_for_end(mp::receiver<int> in) {
  while (in.begin() != in.end()) in.get();
}
void children() {
  constexpr std::size_t count = 64;
  mp::queue<int> q;
  std::vector<mp::process> p;
  p.reserve(count + 1);
  p.emplace_back(wait_for_end, q.receiver()).start();
  const auto before = now();
  for (std::size_t i = 0; i < count; ++i) p.emplace_back(wait_for_end, q.receiver()).start();
  const auto after = now();
  report("memory-child", before, after, count, "");
  q.shutdown();
  for (auto& each : p) check(each.join().success(), "a child failed");
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "memory-queue")
    queues();
  else if (name == "memory-child")
    children();
  else
    return std::fprintf(stderr, "memory: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
