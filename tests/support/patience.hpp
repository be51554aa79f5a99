#pragma once
// How long a test waits before it says "this hangs". Never part of what is tested: no test passes because time passed.

#include <chrono>
#include <thread>

namespace mp_test {

/// For one operation that should end at once.
inline constexpr std::chrono::seconds patience{20};
/// For an operation that starts many processes or moves very much data (and for sanitizer builds).
inline constexpr std::chrono::seconds long_patience{60};

/// Looks at `fact` until it holds; false if it does not come. Only for facts that nobody announces (an entry in /proc):
/// where there is a byte, a descriptor or an answer, wait for that.
template <class Fact>
bool eventually(Fact&& fact, std::chrono::seconds limit = patience) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!fact()) {
    if (std::chrono::steady_clock::now() > end) return static_cast<bool>(fact());
    std::this_thread::yield();
  }
  return true;
}

}  // namespace mp_test
