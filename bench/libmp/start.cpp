// libmp: start + join of a no-op. And the limit of spawn: posix_spawn of this same binary, which then does nothing.

#include <mp/init.hpp>
#include <mp/process.hpp>

#include <spawn.h>

#include "../support/bench.hpp"

namespace {

using namespace bench;

void nothing() {}

double start_and_join() {
  return median_time(
      [] {
        mp::process p{nothing};
        p.start();
        check(p.join().success(), "a no-op failed");
      },
      1, 30, window);
}

double posix_spawn_self(char* self) {
  char flag[] = "--nothing";
  const std::array<char*, 3> arguments{self, flag, nullptr};
  return median_time(
      [&] {
        pid_t pid = 0;
        check(posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) == 0, "posix_spawn");
        int status = -1;
        check(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
      },
      1, 30, window);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--nothing") == 0) return 0;
  mp::init(argc, argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  const identity me{"libmp", "libmp", "sleeps"};
  if (name == "start") {
    emit(name, me, "p50", start_and_join(), "us");
  } else if (name == "start-1gib") {
    grow_heap();
    emit(name, me, "p50", start_and_join(), "us");
  } else if (name == "start-spawn") {
    mp::set_start_method(mp::start_method::spawn);
    emit(name, me, "p50", start_and_join(), "us");
  } else if (name == "start-spawn-limit") {
    emit("start-spawn", {"posix_spawn of the same binary", "limit", "sleeps"}, "p50", posix_spawn_self(argv[0]), "us");
  } else {
    return std::fprintf(stderr, "start: no case \"%s\"\n", argc > 1 ? argv[1] : ""), 2;
  }
}
