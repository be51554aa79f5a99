#pragma once
// The largest piece of memory that a program asked for while it was looked at. Replaces operator new of the program, in a
// file of its own, so that the compiler does not match what it cannot see.

#include <cstddef>

namespace mp_test {

/// Counts from its construction to its destruction. One at a time.
class count_requests {
public:
  count_requests() noexcept;
  count_requests(const count_requests&) = delete;
  count_requests& operator=(const count_requests&) = delete;
  ~count_requests();
  std::size_t largest() const noexcept;
};

}  // namespace mp_test
