// Peer: a pool of 2 workers by hand on ZeroMQ: a PUSH and a PULL socket over ipc://, tasks that do nothing. No task is
// known to anybody: a worker that dies takes its tasks along unseen.

#include <zmq.hpp>

#include "../support/bench.hpp"

namespace {

using namespace bench;

template <class Measure>
double with_pool(Measure measure) {
  std::string folder = "/tmp/bench_zmq_XXXXXX";
  check(mkdtemp(folder.data()) != nullptr, "mkdtemp");
  const std::string there = "ipc://" + folder + "/there", back = "ipc://" + folder + "/back";
  double result = 0;
  {
    std::vector<child> workers;
    for (int i = 0; i < 2; ++i)
      workers.emplace_back([&] {
        zmq::context_t context;
        zmq::socket_t in(context, zmq::socket_type::pull), out(context, zmq::socket_type::push);
        in.connect(there);
        out.connect(back);
        int task = 0;
        for (;;) {
          static_cast<void>(in.recv(zmq::mutable_buffer(&task, sizeof task)));
          out.send(zmq::const_buffer(&task, sizeof task));
        }
      });
    zmq::context_t context;
    zmq::socket_t out(context, zmq::socket_type::push), in(context, zmq::socket_type::pull);
    out.bind(there);
    in.bind(back);
    int task = 0;
    for (int i = 0; i < 100; ++i) {  // both are there
      out.send(zmq::const_buffer(&task, sizeof task));
      static_cast<void>(in.recv(zmq::mutable_buffer(&task, sizeof task)));
    }
    result = measure(out, in);
  }
  unlink((folder + "/there").c_str());
  unlink((folder + "/back").c_str());
  rmdir(folder.c_str());
  return result;
}

double map_rate(zmq::socket_t& out, zmq::socket_t& in) {
  constexpr int count = 200'000, ahead = 500;
  const auto start = clock::now();
  int sent = 0, task = 0;
  for (int got = 0; got < count; ++got) {
    for (; sent < count && sent - got < ahead; ++sent) out.send(zmq::const_buffer(&sent, sizeof sent));
    static_cast<void>(in.recv(zmq::mutable_buffer(&task, sizeof task)));
  }
  return count / seconds(clock::now() - start);
}

double one_by_one(zmq::socket_t& out, zmq::socket_t& in, bool thinks) {
  std::vector<double> samples;
  int task = 0;
  for (int i = 0; i < 2000; ++i) {
    if (thinks) think(think_time);
    const auto before = clock::now();
    out.send(zmq::const_buffer(&task, sizeof task));
    static_cast<void>(in.recv(zmq::mutable_buffer(&task, sizeof task)));
    samples.push_back(micros(clock::now() - before));
  }
  return median(std::move(samples));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"ZeroMQ pool by hand", "peer", "sleeps"};
  if (name == "pool-map-chunk-1")
    emit(name, me, "rate", with_pool([](auto& out, auto& in) { return map_rate(out, in); }), "task/s");
  else if (name == "pool-submit" || name == "pool-submit-asleep")
    emit(name, me, "p50",
         with_pool([&](auto& out, auto& in) { return one_by_one(out, in, name == "pool-submit-asleep"); }), "us");
  else
    return std::fprintf(stderr, "zeromq_pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
