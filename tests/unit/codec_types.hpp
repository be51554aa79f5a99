#pragma once
// Types of every kind that the codec knows, and messages of them, for the tests of the codec and of hostile bytes.

#include "mp/codec.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <cereal/cereal.hpp>
#include <chrono>
#include <complex>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <stack>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <valarray>
#include <variant>
#include <vector>

namespace mp_test {

enum class colour : std::uint8_t { red, green, blue };
enum class yes_no : bool { no, yes };
enum plain_enum { first, second, third };

struct point {
  double x = 0, y = 0;
  friend bool operator==(const point&, const point&) = default;
};
struct padded {
  char letter = 0;
  int number = 0;
  friend bool operator==(const padded&, const padded&) = default;
};
struct nothing {
  friend bool operator==(const nothing&, const nothing&) = default;
};
struct record {
  std::string name;
  std::vector<point> points;
  std::map<std::string, int> counts;
  std::optional<int> maybe;
  std::variant<int, std::string> either;
  std::array<int, 3> numbers{};
  friend bool operator==(const record&, const record&) = default;
};
struct nested {
  record inner;
  std::vector<record> many;
  std::tuple<bool, colour, std::string> mixed;
  friend bool operator==(const nested&, const nested&) = default;
};
/// Recursive: through a vector, and through a pointer.
struct tree {
  int value = 0;
  std::vector<tree> children;
  friend bool operator==(const tree&, const tree&) = default;
};
struct chain {
  int value = 0;
  std::unique_ptr<chain> next;
};
struct graph {
  int value = 0;
  std::vector<std::shared_ptr<graph>> edges;
};

/// Private members behind cereal's functions.
class with_serialize {
public:
  with_serialize() = default;
  with_serialize(int number, std::vector<std::string> words) : number_(number), words_(std::move(words)) {}
  friend bool operator==(const with_serialize&, const with_serialize&) = default;

private:
  friend class cereal::access;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(CEREAL_NVP(number_), words_);
  }
  int number_ = 0;
  std::vector<std::string> words_;
};
class with_split {
public:
  int number = 0;
  std::string text;
  template <class Archive>
  void save(Archive& ar) const {
    ar << number;
    ar(text);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar >> number;
    ar& text;
  }
  with_split() = default;
  with_split(int n, std::string t) : number(n), text(std::move(t)) {}
  friend bool operator==(const with_split&, const with_split&) = default;
};
class with_minimal {
public:
  with_minimal() = default;
  explicit with_minimal(int n) : number(n) {}
  int number = 0;
  template <class Archive>
  int save_minimal(const Archive&) const {
    return number;
  }
  template <class Archive>
  void load_minimal(const Archive&, const int& n) {
    number = n;
  }
  friend bool operator==(const with_minimal&, const with_minimal&) = default;
};
class with_version {
public:
  with_version() = default;
  explicit with_version(int n) : number(n) {}
  int number = 0;
  std::uint32_t seen = 0;
  template <class Archive>
  void serialize(Archive& ar, const std::uint32_t version) {
    ar(number);
    seen = version;
  }
  friend bool operator==(const with_version& a, const with_version& b) { return a.number == b.number; }
};
class base_with_serialize {
public:
  int base = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(base);
  }
};
class derived_with_serialize : public base_with_serialize {
public:
  std::map<int, with_serialize> more;
  std::array<std::uint8_t, 4> raw{};
  int plain[2] = {};
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::base_class<base_with_serialize>(this), more, cereal::binary_data(raw.data(), raw.size()), plain);
  }
  friend bool operator==(const derived_with_serialize& a, const derived_with_serialize& b) {
    return a.base == b.base && a.more == b.more && a.raw == b.raw && std::ranges::equal(a.plain, b.plain);
  }
};
class with_free_functions {
public:
  explicit with_free_functions(int n = 0) : number(n) {}
  int number;
  friend bool operator==(const with_free_functions&, const with_free_functions&) = default;
};
template <class Archive>
void serialize(Archive& ar, with_free_functions& value) {
  ar(value.number);
}
/// Writes nothing at all; a vector of it must still have a length that can be checked.
class silent {
public:
  silent() {}
  template <class Archive>
  void serialize(Archive&) {}
  friend bool operator==(const silent&, const silent&) { return true; }
};

/// Neither aggregate nor default-constructible: travels by the hook.
class celsius {
public:
  explicit celsius(double degrees) : degrees_(degrees) {}
  double degrees() const { return degrees_; }
  friend auto operator<=>(const celsius&, const celsius&) = default;

private:
  double degrees_;
};
struct weather {
  celsius now;
  std::vector<celsius> week;
  std::array<celsius, 2> edges;
  std::map<celsius, std::string> names;
  std::optional<celsius> guess;
  std::variant<celsius, int> other;
  friend bool operator==(const weather&, const weather&) = default;
};

}  // namespace mp_test

CEREAL_CLASS_VERSION(mp_test::with_version, 7)

template <>
struct mp::codec<mp_test::celsius> {
  static double encode(const mp_test::celsius& value) { return value.degrees(); }
  static mp_test::celsius decode(double&& degrees) {
    if (!(degrees >= -273.15)) throw std::range_error("colder than cold");
    return mp_test::celsius(degrees);
  }
};

namespace mp_test {

template <class T>
T decode_whole(std::span<const std::byte> bytes) {
  mp::detail::decoder d(bytes);
  T value = mp::detail::decode<T>(d);
  d.finish();
  return value;
}

template <class T>
T round_trip(const T& value) {
  mp::detail::encoded message = mp::detail::encode_to_buffer(value);
  mp::detail::decoder d(message.bytes, std::move(message.fds));
  T arrived = mp::detail::decode<T>(d);
  d.finish();
  return arrived;
}

inline record make_record() {
  return {"bob", {{1, 2}, {3, 4}}, {{"a", 1}, {"b", -2}}, 5, std::string("word"), {1, 2, 3}};
}
inline nested make_nested() { return {make_record(), {make_record(), {}, make_record()}, {true, colour::blue, "x"}}; }
inline tree make_tree() { return {1, {{2, {{3, {}}}}, {4, {}}}}; }

}  // namespace mp_test
