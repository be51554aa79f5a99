// Calls of a pool that must not compile: see tests/unit/refusals.cpp.

#include "mp/pool.hpp"

#include <span>
#include <string_view>
#include <vector>

namespace {

struct alignas(64) wide {
  int x;
};
void fills(std::span<long> v) { v[0] = 1; }
int fills_and_counts(std::span<int> v) { return v[0] = static_cast<int>(v.size()); }
std::span<int> there(std::span<int> v) { return v; }
std::span<wide> too_wide(std::span<wide> v) { return v; }
std::string_view name(std::string_view v) { return v; }
int* pointer(int) { return nullptr; }

void calls(mp::pool& pool) {
  const std::vector<int> some{1};
  pool.submit(fills, some);                    // refused: takes a span to write to
  pool.submit(fills_and_counts, some);         // refused: takes a span to write to
  pool.submit(name, "x");                      // refused: the result cannot travel
  pool.submit(pointer, 1);                     // refused: the result cannot travel
  pool.submit(too_wide, std::vector<wide>{});  // refused: the result cannot travel
  auto all = pool.imap(there, std::vector<std::vector<int>>(1));
  all.async_get([](std::exception_ptr, std::span<int>) {});  // refused: a span shows a result until the next one
}

}  // namespace
