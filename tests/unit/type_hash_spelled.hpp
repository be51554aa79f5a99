#pragma once
// Types that g++ writes in two ways.

#include "mp/detail/type_hash.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mp_test {

struct fresh {
  int value;
};
template <class T, class P = fresh>
struct with_implied {
  T value;
  P more;
  struct within {
    T value;
  };
};

/// What the compiler calls some of them in type_hash_spelled.cpp, and their hashes there.
std::vector<std::string> spelled_out();
std::vector<std::uint64_t> hashes_spelled_out();

}  // namespace mp_test

// A macro: g++ remembers the way in which a translation unit wrote a type first.
#define HASHES_OF_SPELLED                                                                                        \
  std::vector<std::uint64_t> {                                                                                   \
    mp::detail::type_hash<std::vector<mp_test::fresh>>(), mp::detail::type_hash<mp_test::with_implied<float>>(), \
        mp::detail::type_hash<mp_test::with_implied<std::vector<mp_test::fresh>>>(),                             \
        mp::detail::type_hash<mp_test::with_implied<std::vector<mp_test::fresh>>::within>(),                     \
        mp::detail::type_hash<std::map<int, mp_test::fresh>>(),                                                  \
        mp::detail::type_hash<std::array<std::vector<mp_test::fresh>, 3>>(),                                     \
        mp::detail::type_hash<std::array<mp_test::with_implied<float>, 3>>(),                                    \
        mp::detail::type_hash<std::unique_ptr<mp_test::with_implied<float>>>()                                   \
  }
