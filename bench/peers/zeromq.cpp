// Peer: ZeroMQ, PUSH and PULL over ipc://. Many to many is dealt out by the pushing side: there is no shared queue.

#include <zmq.hpp>

#include "../support/bench.hpp"

namespace {

using namespace bench;

double many_to_many(int sides) {
  std::string folder = "/tmp/bench_zmq_XXXXXX";
  check(mkdtemp(folder.data()) != nullptr, "mkdtemp");
  const auto address = [&](int i) { return "ipc://" + folder + "/" + std::to_string(i); };
  auto* count = shared<counters>();
  double result = 0;
  {
    std::vector<child> all;
    for (int i = 0; i < sides; ++i) {
      all.emplace_back([&, i] {
        zmq::context_t context;
        zmq::socket_t out(context, zmq::socket_type::push);
        out.bind(address(i));
        message m;
        for (std::uint64_t n = 0;; ++n) {
          fill(m, n);
          out.send(zmq::const_buffer(&m, sizeof m));
        }
      });
      all.emplace_back([&, i] {
        zmq::context_t context;
        zmq::socket_t in(context, zmq::socket_type::pull);
        for (int p = 0; p < sides; ++p) in.connect(address(p));
        message m;
        for (;;) {
          const auto got = in.recv(zmq::mutable_buffer(&m, sizeof m));
          check(got && got->size == sizeof m, "a message of another size");
          consume(m);
          count->of[static_cast<std::size_t>(i)].add();
        }
      });
    }
    result = rate(*count);
  }
  for (int i = 0; i < sides; ++i) unlink((folder + "/" + std::to_string(i)).c_str());
  rmdir(folder.c_str());
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "stream-queue-1-1")
    emit(name, {"ZeroMQ PUSH/PULL", "peer", "sleeps"}, "rate", many_to_many(1), "msg/s");
  else if (name == "stream-queue-2-2")
    emit(name, {"ZeroMQ PUSH/PULL", "peer", "sleeps"}, "rate", many_to_many(2), "msg/s");
  else
    return std::fprintf(stderr, "zeromq: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
