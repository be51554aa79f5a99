// libmp: what an idle queue costs, and what a started child costs its parent. In memory that is there (resident) and
// memory that is promised (reserved: blocks allocated to memory files, and private memory).

#include <mp/init.hpp>
#include <mp/pipe.hpp>
#include <mp/process.hpp>
#include <mp/queue.hpp>

#include "../support/footprint.hpp"

namespace {

using namespace bench;

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
  const auto before = footprint::now();
  for (std::size_t i = 0; i < count; ++i) q.emplace_back();
  const auto idle = footprint::now();
  for (auto& each : q) {
    each.put(message{});
    consume(each.get());
  }
  const auto used = footprint::now();
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
  const auto before = footprint::now();
  for (std::size_t i = 0; i < count; ++i) p.emplace_back(wait_for_end, q.receiver()).start();
  const auto after = footprint::now();
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
