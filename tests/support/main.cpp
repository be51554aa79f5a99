// The main of every test program: a child of the library starts here and never comes back from mp::init, so that
// Catch2 lives in the first process alone. Ends with a line that ./tests/run counts: "tally: P passed, F failed".

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using listener_base = Catch::EventListenerBase;
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
using listener_base = Catch::TestEventListenerBase;
#endif
#include "mp/init.hpp"

#include <cstddef>
#include <cstdio>

namespace {

class tally final : public listener_base {
public:
  using listener_base::listener_base;

  void testRunEnded(const Catch::TestRunStats& stats) override {
    const auto& cases = stats.totals.testCases;
    passed = static_cast<std::size_t>(cases.passed + cases.failedButOk);
    failed = static_cast<std::size_t>(cases.failed);
  }

  static inline std::size_t passed = 0, failed = 0;
};

CATCH_REGISTER_LISTENER(tally)

}  // namespace

int main(int argc, char** argv) {
  mp::init(argc, argv);
  const int code = Catch::Session().run(argc, argv);
  std::fflush(nullptr);
  std::printf("\ntally: %zu passed, %zu failed\n", tally::passed, tally::failed);
  std::fflush(nullptr);
  return code;
}
