// A thread's own value: gone with the thread, and there once more for destructors that run after the thread's own.

#include "os/per_thread.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"

#include <unistd.h>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

std::atomic<int> living{0};

struct counted {
  counted() { ++living; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { --living; }
  std::vector<int> numbers{};
};

// After main, and so after the destructors of its thread.
void use_it_again() {
  auto& again = mp::os::per_thread<counted>();
  const bool is_fresh = again.numbers.empty() && living == 1;
  again.numbers.assign(100, 7);
  ::_exit(is_fresh && mp::os::per_thread<counted>().numbers.size() == 100 ? 0 : 1);
}

}  // namespace

TEST_CASE("per_thread: one a thread, gone with it", "[per_thread]") {
  const int before = living;
  std::thread([&] {
    auto& mine = mp::os::per_thread<counted>();
    CHECK(&mp::os::per_thread<counted>() == &mine);
    std::thread([&] { CHECK(&mp::os::per_thread<counted>() != &mine); }).join();
    CHECK(living == before + 1);
  }).join();
  CHECK(living == before);
}

TEST_CASE("per_thread: asked for after the thread's destructors it is there once more", "[per_thread]") {
  mp_test::forked_child child([]() -> int {
    mp::os::per_thread<counted>().numbers.assign(100, 1);
    if (std::atexit(use_it_again) != 0) return 2;
    std::exit(3);
  });
  CHECK(child.wait() == 0);
}
