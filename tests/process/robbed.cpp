// How children ended, told where the kernel must not be asked (PIDFD_GET_INFO refused, as before Linux 6.15) and others
// take what they can. FAULTS 22, 23, 24.

#include "process_support.hpp"
#include "run_victim.hpp"

#include <signal.h>
#include <string>

using namespace mp_test;

namespace {

const environment no_kernel_memory{{"VICTIM_NO_KERNEL_MEMORY", "1"}};

}  // namespace

TEST_CASE("process: where the kernel must not be asked, every way to end is told exactly", "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn", "fork");
  const auto result = victim({"every-end", method}, no_kernel_memory);
  CAPTURE(method);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("wrong 0 unknown 0"));
}

TEST_CASE("process: where the kernel must not be asked, a thread that reaps everything makes no status wrong",
          "[process][faults]") {
  const std::string method = GENERATE("forkserver", "spawn", "fork_with_threads");
  const auto result = victim({"thief", method}, no_kernel_memory);
  CAPTURE(method);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  // What the fork server reaps nobody can take from it.
  CHECK_THAT(result.out, contains(method == "forkserver" ? "wrong 0 unknown 0" : "wrong 0 "));
}

TEST_CASE("process: where the kernel must not be asked, a killed fork server makes no status wrong",
          "[process][faults]") {
  const int signal = GENERATE(SIGKILL, SIGTERM, SIGINT);
  const auto result = victim({"kill-server", std::to_string(signal)}, no_kernel_memory);
  CAPTURE(signal);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
}

TEST_CASE(
    "process: where the kernel must not be asked, a fork server that is killed again and again makes no wrong "
    "status",
    "[process][faults]") {
  const auto result = victim({"kill-server-often"}, no_kernel_memory);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("wrong 0"));
}

TEST_CASE("process: where the kernel must not be asked, a stopped fork server keeps no status back",
          "[process][faults]") {
  const auto result = victim({"stop-server"}, no_kernel_memory);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, contains("did not answer in time; is it stopped?"));
}
