// Peer: a pool of 2 workers by hand on ZeroMQ: a PUSH and a PULL socket over ipc://, tasks that do nothing. No task is
// known to anybody: a worker that dies takes its tasks along unseen.

#include <zmq.hpp>

#include "../support/pool.hpp"

namespace {

using namespace bench;

template <class Work>
void serve(const std::string& there, const std::string& back, Work work) {
  zmq::context_t context;
  zmq::socket_t in(context, zmq::socket_type::pull), out(context, zmq::socket_type::push);
  in.connect(there);
  out.connect(back);
  for (;;) {
    zmq::message_t m;
    static_cast<void>(in.recv(m));
    work(m);
    out.send(m, zmq::send_flags::none);
  }
}

/// `work` happens to each message in a worker, `measure` gets the two sockets of the master.
template <class Work, class Measure>
double with_pool(std::size_t size, Work work, Measure measure) {
  std::string folder = "/tmp/bench_zmq_XXXXXX";
  check(mkdtemp(folder.data()) != nullptr, "mkdtemp");
  const std::string there = "ipc://" + folder + "/there", back = "ipc://" + folder + "/back";
  double result = 0;
  {
    std::vector<child> all;
    for (int i = 0; i < workers; ++i) all.emplace_back([&] { serve(there, back, work); });
    zmq::context_t context;
    zmq::socket_t out(context, zmq::socket_type::push), in(context, zmq::socket_type::pull);
    out.bind(there);
    in.bind(back);
    const std::vector<char> first(size);
    for (int i = 0; i < 100; ++i) {  // both are there
      out.send(zmq::buffer(first));
      zmq::message_t m;
      static_cast<void>(in.recv(m));
    }
    result = measure(out, in);
  }
  unlink((folder + "/there").c_str());
  unlink((folder + "/back").c_str());
  rmdir(folder.c_str());
  return result;
}

/// At most `ahead` tasks are under way; `send` gives task number i, `take` gets a result.
template <class Send, class Take, class Finish = decltype([] {})>
double windowed(int tasks, int ahead, zmq::socket_t& in, Send send, Take take, Finish finish = {}) {
  return task_rate(tasks, [&] {
    for (int sent = 0, got = 0; got < tasks; ++got) {
      for (; sent < tasks && sent - got < ahead; ++sent) send(sent);
      zmq::message_t m;
      static_cast<void>(in.recv(m));
      take(got, m);
    }
    finish();
  });
}

double map_rate(int tasks, zmq::socket_t& out, zmq::socket_t& in) {
  std::vector<int> results(static_cast<std::size_t>(tasks));
  return windowed(
      tasks, 500, in, [&](int i) { out.send(zmq::const_buffer(&i, sizeof i)); },
      [&](int, const zmq::message_t& m) {
        const int result = *m.data<int>();
        results[static_cast<std::size_t>(result)] = result;
      });
}

double large_rate(zmq::socket_t& out, zmq::socket_t& in) {
  const std::vector<double> input(large_doubles, 1.5);
  std::vector<std::unique_ptr<double[]>> results(large_tasks);
  return windowed(
      large_tasks, 2 * workers, in, [&](int) { out.send(zmq::buffer(input)); },
      [&](int i, const zmq::message_t& m) {
        auto& to = results[static_cast<std::size_t>(i)];
        to = fresh_result();
        std::memcpy(to.get(), m.data(), large_bytes);
        check_scaled(input.data(), to.get());
      },
      [&] {  // nobody keeps the results of all runs: the memory of the next ones is fresh, too
        for (auto& r : results) r.reset();
      });
}

/// One task there and back.
auto trip_over(zmq::socket_t& out, zmq::socket_t& in) {
  return [&](const message& m) {
    message answer;
    out.send(zmq::const_buffer(&m, sizeof m));
    static_cast<void>(in.recv(zmq::mutable_buffer(&answer, sizeof answer)));
    return answer;
  };
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"ZeroMQ pool by hand", "peer", "sleeps"};
  const auto nothing = [](zmq::message_t&) {};
  const auto thinks = [](zmq::message_t& m) { think_before_answer(*m.data<message>()); };
  if (name.starts_with("pool-map-chunk-1"))
    emit(name, me, "rate",
         with_pool(sizeof(int), nothing, [&](auto& out, auto& in) { return map_rate(tasks_of(name), out, in); }),
         "task/s");
  else if (name == "pool-8mib")
    emit(name, me, "vectors",
         with_pool(
             large_bytes, [](zmq::message_t& m) { scale(m.data<double>()); },
             [](auto& out, auto& in) { return large_rate(out, in); }),
         "task/s");
  else if (name == "pool-submit")
    emit(name, me, "p50",
         with_pool(sizeof(message), nothing, [](auto& out, auto& in) { return round_trip_awake(trip_over(out, in)); }),
         "us");
  else if (name == "pool-submit-asleep")
    emit(name, me, "p50",
         with_pool(sizeof(message), thinks, [](auto& out, auto& in) { return round_trip_asleep(trip_over(out, in)); }),
         "us");
  else
    return std::fprintf(stderr, "zeromq_pool: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
}
