// The types of type_hash_spelled.hpp, met in the way that makes g++ write their implied arguments.

#include "type_hash_spelled.hpp"

#include <functional>

namespace mp_test {
namespace {

template <template <class...> class C, class... A>
struct made {
  using type = C<A...>;
};
template <class T>
std::string spell() {
  return std::string(mp::detail::type_name<T>());
}

}  // namespace

std::vector<std::string> spelled_out() {
  return {spell<made<std::vector, fresh, std::allocator<fresh>>::type>(),
          spell<made<with_implied, float, fresh>::type>(),
          spell<made<std::map, int, fresh, std::less<int>, std::allocator<std::pair<const int, fresh>>>::type>()};
}
std::vector<std::uint64_t> hashes_spelled_out() { return HASHES_OF_SPELLED; }

}  // namespace mp_test
