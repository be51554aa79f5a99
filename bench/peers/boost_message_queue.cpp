// Peer: Boost.Interprocess message_queue, the queue between processes that a C++ programmer finds first.

#include <boost/interprocess/ipc/message_queue.hpp>

#include "../support/bench.hpp"

namespace {

using namespace bench;
namespace ipc = boost::interprocess;

/// A queue under a name of its own, which is taken off at once: nothing stays behind, however we end.
class queue {
public:
  queue(std::size_t count, std::size_t size)
      : name_("bench_boost_" + std::to_string(getpid())), queue_(ipc::create_only, name_.c_str(), count, size) {
    ipc::message_queue::remove(name_.c_str());
  }
  void put(const void* from, std::size_t size) { queue_.send(from, size, 0); }
  void get(void* to, std::size_t size) {
    ipc::message_queue::size_type got = 0;
    unsigned priority = 0;
    queue_.receive(to, size, got, priority);
    check(got == size, "a message of another size");
  }

private:
  std::string name_;
  ipc::message_queue queue_;
};

double many_to_many(int sides) {
  queue q(1024, sizeof(message));
  auto* count = shared<counters>();
  std::vector<child> all;
  for (int i = 0; i < sides; ++i) {
    all.emplace_back([&] {
      message m;
      for (std::uint64_t n = 0;; ++n) {
        fill(m, n);
        q.put(&m, sizeof m);
      }
    });
    all.emplace_back([&, i] {
      message m;
      for (;;) {
        q.get(&m, sizeof m);
        consume(m);
        count->of[static_cast<std::size_t>(i)].add();
      }
    });
  }
  return rate(*count);
}

double large_stream() {
  queue q(4, large);
  const child producer([&] {
    std::vector<std::byte> own(large);
    for (std::uint64_t n = 0;; ++n) {
      fill(own.data(), large, n);
      q.put(own.data(), large);
    }
  });
  std::vector<std::byte> own(large);
  return rate(
      [&] {
        q.get(own.data(), large);
        consume(own.data(), large);
      },
      4);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"Boost message_queue", "peer", "sleeps"};
  if (name == "stream-queue-1-1")
    emit(name, me, "rate", many_to_many(1), "msg/s");
  else if (name == "stream-queue-2-2")
    emit(name, me, "rate", many_to_many(2), "msg/s");
  else if (name == "stream-1mib")
    emit(name, me, "rate", large_stream() * large / 1e9, "GB/s");
  else
    return std::fprintf(stderr, "boost_message_queue: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
