// Every form of cereal's functions, with cereal's words in them. mp's headers come first: the order must not matter.

#include "codec_cereal_bare.hpp"
#include "mp/codec.hpp"
#include "support/catch.hpp"

#include <cereal/cereal.hpp>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

template <class T>
T round_trip(const T& value) {
  const mp::detail::encoded message = mp::detail::encode_to_buffer(value);
  mp::detail::decoder d(message.bytes, {});
  T arrived = mp::detail::decode<T>(d);
  d.finish();
  return arrived;
}

/// A class with one number, which arrives or does not.
struct with_number {
  explicit with_number(int n = 0) : number(n) {}
  int number;
  friend bool operator==(const with_number&, const with_number&) = default;
};
template <class T>
void number_arrives() {
  static_assert(mp::sendable<T>);
  static_assert(mp::detail::kind_of<T> == mp::detail::kind::cereal);
  CHECK(round_trip(T(7)).number == 7);
  const std::vector<T> several{T(1), T(2), T(3)};
  CHECK(round_trip(several) == several);
}

#define MP_NUMBER(name) \
public:                 \
  name(int n = 0) : with_number(n) {}

class private_serialize : public with_number {
  MP_NUMBER(private_serialize)
private:
  friend class cereal::access;
  template <class A>
  void serialize(A& ar) {
    ar(cereal::make_nvp("number", number));
  }
};
class private_split : public with_number {
  MP_NUMBER(private_split)
private:
  friend class cereal::access;
  template <class A>
  void save(A& ar) const {
    ar(number);
  }
  template <class A>
  void load(A& ar) {
    ar(number);
  }
};
class private_minimal : public with_number {
  MP_NUMBER(private_minimal)
private:
  friend class cereal::access;
  template <class A>
  std::string save_minimal(const A&) const {
    return std::to_string(number);
  }
  template <class A>
  void load_minimal(const A&, const std::string& text) {
    number = std::stoi(text);
  }
};
class private_versioned : public with_number {
  MP_NUMBER(private_versioned)
  std::uint32_t saw = 0;

private:
  friend class cereal::access;
  template <class A>
  void save(A& ar, std::uint32_t version) const {
    ar(number + static_cast<int>(version));
  }
  template <class A>
  void load(A& ar, std::uint32_t version) {
    ar(number);
    number -= static_cast<int>(version);
    saw = version;
  }
};

class free_split : public with_number {
  MP_NUMBER(free_split)
};
template <class A>
void save(A& ar, const free_split& value) {
  ar(value.number);
}
template <class A>
void load(A& ar, free_split& value) {
  ar(value.number);
}
class free_versioned : public with_number {
  MP_NUMBER(free_versioned)
};
template <class A>
void serialize(A& ar, free_versioned& value, std::uint32_t version) {
  if (version == 3) ar(value.number);
}
class free_minimal : public with_number {
  MP_NUMBER(free_minimal)
};
template <class A>
int save_minimal(const A&, const free_minimal& value) {
  return value.number;
}
template <class A>
void load_minimal(const A&, free_minimal& value, const int& number) {
  value.number = number;
}

/// Inherits `serialize` and has a pair of its own: cereal::specialize says which.
class specialized : public private_serialize {
public:
  specialized(int n = 0) : private_serialize(n) {}
  template <class A>
  void serialize(A&) {}
  template <class A>
  void save(A& ar) const {
    ar(number);
  }
  template <class A>
  void load(A& ar) {
    ar(number);
  }
};
/// The same without the word.
class ambiguous : public with_number {
  MP_NUMBER(ambiguous)
  template <class A>
  void serialize(A&) {}
  template <class A>
  void save(A&) const {}
  template <class A>
  void load(A&) {}
};

/// Written once although two of its children have it as their base.
struct root {
  int number = 0, times = 0;
  template <class A>
  void serialize(A& ar) {
    ar(number);
    ++times;
  }
};
struct left : virtual root {
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<root>(this));
  }
};
struct right : virtual root {
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<root>(this));
  }
};
struct diamond : left, right {
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<left>(this), cereal::virtual_base_class<right>(this));
  }
};

/// Puts its first member off until the second is there; asks which way it goes; has a size and a block.
class deferring {
public:
  std::string late;
  std::vector<int> block;
  int after = 0;
  bool loaded = false;
  template <class A>
  void serialize(A& ar) {
    ar(cereal::defer(late));
    auto size = static_cast<std::uint64_t>(block.size());
    ar(cereal::make_size_tag(size));
    if constexpr (A::is_loading::value) {
      block.resize(size);
      loaded = late.empty();
    }
    ar(cereal::binary_data(block.data(), block.size() * sizeof(int)), after);
    ar.serializeDeferments();
  }
};

/// A function that asks cereal's traits what the archive can do, as those of matrix libraries do.
template <class T>
class matrix {
public:
  std::vector<T> cells;
};
template <class A, class T>
std::enable_if_t<cereal::traits::is_output_serializable<cereal::BinaryData<T>, A>::value> save(A& ar,
                                                                                               const matrix<T>& value) {
  ar(static_cast<std::uint32_t>(value.cells.size()));
  ar(cereal::binary_data(value.cells.data(), value.cells.size() * sizeof(T)));
}
template <class A, class T>
std::enable_if_t<cereal::traits::is_input_serializable<cereal::BinaryData<T>, A>::value> load(A& ar, matrix<T>& value) {
  std::uint32_t size = 0;
  ar(size);
  value.cells.resize(size);
  ar(cereal::binary_data(value.cells.data(), value.cells.size() * sizeof(T)));
}

}  // namespace

CEREAL_CLASS_VERSION(private_versioned, 5)
CEREAL_CLASS_VERSION(free_versioned, 3)
CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES(specialized, cereal::specialization::member_load_save)

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
