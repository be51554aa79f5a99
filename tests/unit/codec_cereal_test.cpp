// Every form of cereal's functions. mp's headers come before cereal's: the order must not matter.

#include "codec_cereal_bare.hpp"
#include "codec_cereal_version.hpp"
#include "mp/codec.hpp"
#include "support/catch.hpp"

#include "codec_cereal_types.hpp"

namespace {

template <class T>
T round_trip(const T& value) {
  const mp::detail::encoded message = mp::detail::encode_to_buffer(value);
  mp::detail::decoder d(message.bytes, {});
  T arrived = mp::detail::decode<T>(d);
  d.finish();
  return arrived;
}

template <class T>
void number_arrives() {
  static_assert(mp::sendable<T>);
  static_assert(mp::detail::kind_of<T> == mp::detail::kind::cereal);
  CHECK(round_trip(T(7)).number == 7);
  const std::vector<T> several{T(1), T(2), T(3)};
  CHECK(round_trip(several) == several);
}

}  // namespace

TEST_CASE("cereal: members arrive in every form, private ones through cereal::access", "[codec][unit]") {
  number_arrives<private_serialize>();
  number_arrives<private_split>();
  number_arrives<private_minimal>();
  number_arrives<private_versioned>();
  CHECK(round_trip(private_versioned(1)).saw == 5);
}

TEST_CASE("cereal: free functions arrive in every form", "[codec][unit]") {
  number_arrives<free_split>();
  number_arrives<free_versioned>();
  number_arrives<free_minimal>();
}

TEST_CASE("cereal: a class version is written once in a message", "[codec][unit]") {
  const auto one = mp::detail::encode_to_buffer(std::vector<private_versioned>(1)).bytes.size();
  const auto three = mp::detail::encode_to_buffer(std::vector<private_versioned>(3)).bytes.size();
  CHECK(three - one == 2 * sizeof(int));
}

TEST_CASE("cereal: several forms need the word of cereal::specialize", "[codec][unit]") {
  number_arrives<specialized>();
  static_assert(!mp::detail::has_cereal_functions<ambiguous>);
  static_assert(!mp::sendable<ambiguous>);
}

TEST_CASE("cereal: a virtual base is written once", "[codec][unit]") {
  diamond value;
  value.number = 7;
  const diamond arrived = round_trip(value);
  CHECK(arrived.number == 7);
  CHECK(arrived.times == 1);
}

TEST_CASE("cereal: deferred members, sizes and blocks arrive", "[codec][unit]") {
  deferring value;
  value.late = "late";
  value.block = {1, 2, 3};
  value.after = 4;
  const deferring arrived = round_trip(value);
  CHECK(arrived.late == "late");
  CHECK(arrived.block == value.block);
  CHECK(arrived.after == 4);
  CHECK(arrived.loaded);
}

TEST_CASE("cereal: what the parts of a whole put off arrives with each of them", "[codec][unit]") {
  network value;
  for (int i = 0; i < 20; ++i) {
    value.nodes.emplace_back();
    value.nodes.back().late = std::string(40, 'x') + std::to_string(i);
    value.nodes.back().n = i;
  }
  const network arrived = round_trip(value);
  REQUIRE(arrived.nodes.size() == 20);
  for (int i = 0; i < 20; ++i) {
    CHECK(arrived.nodes[static_cast<std::size_t>(i)].n == i);
    CHECK(arrived.nodes[static_cast<std::size_t>(i)].late == value.nodes[static_cast<std::size_t>(i)].late);
  }
}

TEST_CASE("cereal: bases that cannot be made alone arrive, each object's own", "[codec][unit]") {
  std::vector<concrete> several(3);
  std::vector<concrete_too> others(3);
  for (int i = 0; i < 3; ++i)
    several[static_cast<std::size_t>(i)].number = others[static_cast<std::size_t>(i)].number = i + 1;
  const auto arrived = round_trip(several);
  const auto too = round_trip(others);
  REQUIRE(arrived.size() == 3);
  REQUIRE(too.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(arrived[i].number == static_cast<int>(i) + 1);
    CHECK(too[i].number == static_cast<int>(i) + 1);
  }
}

TEST_CASE("cereal: each direction finds its own function", "[codec][unit]") {
  CHECK(mp::detail::encode_to_buffer(mixed{7, 8}).bytes.size() == sizeof(int));
  CHECK(round_trip(mixed{7, 8}).number == 7);
  CHECK(mp::detail::encode_to_buffer(half_private{}).bytes.size() == sizeof(int));
}

TEST_CASE("cereal: a class version that another file gives is the one", "[codec][unit]") {
  CHECK(version_seen_elsewhere() == 6);
  CHECK(round_trip(versioned_elsewhere()).seen == 6);
}

TEST_CASE("cereal: functions may ask cereal's traits", "[codec][unit]") {
  CHECK(round_trip(matrix<double>{{1, 2, 3}}).cells == std::vector<double>{1, 2, 3});
}

TEST_CASE("cereal: a type travels the same where no header of cereal's is included", "[codec][unit]") {
  static_assert(mp::detail::kind_of<bare> == mp::detail::kind::cereal);
  const auto bytes = bytes_of(bare(4, {"a", "b"}));
  CHECK(mp::detail::encode_to_buffer(bare(4, {"a", "b"})).bytes == bytes);
  CHECK(from_bytes(bytes) == bare(4, {"a", "b"}));
  CHECK(round_trip(bare(5, {"c"})) == bare(5, {"c"}));
}
