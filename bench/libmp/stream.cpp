// libmp: streams of 64 bytes through a pipe and a queue, and of 1 MiB vectors through a pipe. One put and one get each.

#include <mp/init.hpp>
#include <mp/pipe.hpp>
#include <mp/process.hpp>
#include <mp/queue.hpp>

#include "../support/bench.hpp"

namespace {

using namespace bench;
using vector = std::vector<std::byte>;

void produce(mp::sender<message> out) {
  message m;
  for (std::uint64_t n = 0;; ++n) {
    fill(m, n);
    out.put(m);
  }
}
void produce_many(mp::sender<message> out) {
  constexpr std::size_t batch = 64;
  std::vector<message> m(batch);
  for (std::uint64_t n = 0;; n += batch) {
    for (std::size_t i = 0; i < batch; ++i) fill(m[i], n + i);
    out.put_many(m);
  }
}
void produce_large(mp::sender<vector> out) {
  vector own(large);
  for (std::uint64_t n = 0;; ++n) {
    fill(own.data(), large, n);
    out.put(own);
  }
}
/// Counts into memory that the parent reads: `counts` is its path.
void take(mp::receiver<message> in, std::string counts, std::size_t index) {
  const mp::unique_fd file{open(counts.c_str(), O_RDWR | O_CLOEXEC)};
  void* p = mmap(nullptr, sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  check(p != MAP_FAILED, "mmap of the counters");
  auto& mine = static_cast<counters*>(p)->of[index];
  for (;;) {
    consume(in.get());
    mine.add();
  }
}

/// A child that never ends by itself; killed when this object goes.
class running {
public:
  template <class... A>
  explicit running(A&&... a) : process_(std::forward<A>(a)...) {
    process_.start();
  }
  running(running&& other) noexcept : process_(std::move(other.process_)), owns_(std::exchange(other.owns_, false)) {}
  running& operator=(running&&) = delete;
  ~running() {
    if (!owns_) return;
    if (!process_.is_alive()) std::fputs("a child ended before the measurement did\n", stderr);
    process_.kill();
    process_.join();
  }

private:
  mp::process process_;
  bool owns_ = true;
};

double one_to_one() {
  auto [in, out] = mp::pipe<message>();
  const running producer{produce, std::move(out)};
  return rate([&in = in] { consume(in.get()); }, 256);
}
double one_to_one_batched() {
  auto [in, out] = mp::pipe<message>();
  const running producer{produce_many, std::move(out)};
  double messages = 0, calls = 0;
  const auto per_call = rate(
      [&, &in = in] {
        const auto got = in.get_many(64);
        for (const auto& m : got) consume(m);
        messages += static_cast<double>(got.size());
        ++calls;
      },
      16);
  return per_call * messages / calls;
}
double large_stream() {
  auto [in, out] = mp::pipe<vector>();
  const running producer{produce_large, std::move(out)};
  return rate(
      [&in = in] {
        const auto v = in.get();
        check(v.size() == large, "a message of another size");
        consume(v.data(), v.size());
      },
      4);
}
double many_to_many(std::size_t sides) {
  const mp::unique_fd file{memfd_create("bench-counters", MFD_CLOEXEC)};
  check(ftruncate(file.get(), sizeof(counters)) == 0, "ftruncate");
  void* p = mmap(nullptr, sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  check(p != MAP_FAILED, "mmap of the counters");
  const auto path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file.get());

  const mp::queue<message> q{1024};
  std::vector<running> all;
  for (std::size_t i = 0; i < sides; ++i) {
    all.emplace_back(produce, q.sender());
    all.emplace_back(take, q.receiver(), path, i);
  }
  return rate(*new (p) counters);
}

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"libmp", "libmp", "sleeps"};
  if (name == "stream-pipe") {
    emit(name, me, "rate", one_to_one(), "msg/s");
    emit(name, {"libmp, put_many and get_many of 64", "means", "sleeps"}, "rate", one_to_one_batched(), "msg/s");
  } else if (name == "stream-queue-1-1") {
    emit(name, me, "rate", many_to_many(1), "msg/s");
  } else if (name == "stream-queue-2-2") {
    emit(name, me, "rate", many_to_many(2), "msg/s");
  } else if (name == "stream-1mib") {
    emit(name, me, "rate", large_stream() * large / 1e9, "GB/s");
  } else {
    return std::fprintf(stderr, "stream: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
