#pragma once
// Callables with a state, for tests of who gets what of a chunk.

#include "mp/queue.hpp"
#include "pool_tasks.hpp"

#include <chrono>
#include <vector>

namespace mp_test {

/// Tells which item has run; one of them ends its worker.
struct tells {
  mp::queue<int> heard;
  int deadly = -1;

  int operator()(int x) const {
    if (x == deadly) end_by(end::kill);
    heard.put(x);
    return x;
  }
};

/// Waits at a gate, but for item 0.
struct gated {
  mp::queue<int> gate;

  int operator()(int x) const { return x == 0 ? 0 : gate.get() + x; }
};

inline int a_millisecond(int x) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
  while (std::chrono::steady_clock::now() < end) continue;
  return x;
}

/// Takes all that is there.
inline std::vector<int> drain(const mp::queue<int>& q) {
  std::vector<int> all;
  try {
    while (auto v = q.try_get()) all.push_back(*v);
  } catch (const mp::error& e) {
    REQUIRE(e.code() == mp::errc::closed);  // nobody else has it any more
  }
  return all;
}

}  // namespace mp_test
