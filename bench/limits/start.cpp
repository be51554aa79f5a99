// Limit of start + join: the least a fork server can do. One socket, one fork per request, the status sent back.
// It must not do what a library owes its users (task, hello, pidfd, environment, death of the parent).

#include <sys/socket.h>

#include "../support/bench.hpp"

namespace {

[[noreturn]] void serve(int socket) {
  for (char request; recv(socket, &request, 1, 0) == 1;) {
    const pid_t worker = fork();
    if (worker == 0) _exit(0);
    int status = 0;
    waitpid(worker, &status, 0);
    bench::check(send(socket, &status, sizeof status, MSG_NOSIGNAL) == sizeof status, "send");
  }
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "start";
  std::array<int, 2> ends{};
  bench::check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0, "socketpair");
  const bench::child server([&] {
    close(ends[0]);
    serve(ends[1]);
  });
  if (name == "start-1gib") bench::grow_heap();

  const auto start_and_join = [&] {
    int status = -1;
    bench::check(send(ends[0], "s", 1, MSG_NOSIGNAL) == 1, "send");
    bench::check(recv(ends[0], &status, sizeof status, 0) == sizeof status && status == 0, "recv");
  };
  bench::emit(name, {"minimal fork server", "limit", "sleeps"}, "p50",
              bench::median_time(start_and_join, 1, 30, bench::window), "us");
}
