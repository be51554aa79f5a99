// What a process cannot change inside another: when it changes in us, the fork server is one of yesterday, and is replaced.
// Decision 0001, point 5.

#include "process_support.hpp"
#include "run_victim.hpp"

#include <filesystem>
#include <string>

using namespace mp_test;

TEST_CASE(
    "start: the fork server is replaced when ids, capabilities, no_new_privs, seccomp, namespaces or the cgroup of "
    "main have changed",
    "[process][faults]") {
  const std::string what =
      GENERATE("user", "group", "groups", "capabilities", "no_new_privs", "seccomp", "namespace", "cgroup");
  const auto result = victim({"changed-place", what});
  CAPTURE(what);
  INFO(result.out << result.err);
  if (what == "cgroup" && !result.out.empty()) {
    const std::filesystem::path made = result.out.substr(0, result.out.find('\n'));
    std::error_code problem;
    CHECK(eventually([&] { return std::filesystem::remove(made, problem); }));
  }
  if (result.code == 60) MP_SKIP("this machine does not let us change: " + what);
  CHECK(result.code == 0);
}
