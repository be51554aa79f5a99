// Bytes that no sender of ours wrote: refused, or read as a value of the same type, and never more memory than came.

#include "codec_types.hpp"
#include "count_requests.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <iostream>

using namespace mp_test;
using namespace mp::detail;

namespace {

class moody {
public:
  moody() = default;
  template <class Archive>
  void save(Archive& ar) const {
    ar(1);
  }
  template <class Archive>
  void load(Archive&) {
    throw 42;
  }
};

/// true: read as some value. Anything but error{undecodable} and a value is a finding and passes through.
template <class T>
bool reads(std::span<const std::byte> bytes) {
  try {
    const T value = decode_whole<T>(bytes);
    // What was read is a value of its type: it can be written again.
    static_cast<void>(encode_to_buffer(value));
    return true;
  } catch (const mp::error& e) {
    if (e.code() == mp::errc::undecodable) return false;
    if (e.code() == mp::errc::unencodable) return true;  // nests deeper than a writer may
    throw;
  }
}

std::size_t messages = 0, flips = 0, accepted = 0, cuts = 0;

template <class T>
void damage(const T& value) {
  const auto whole = encode_to_buffer(value).bytes;
  REQUIRE(reads<T>(whole));
  ++messages;
  for (std::size_t cut = 0; cut < whole.size(); ++cut, ++cuts) {
    // In memory of exactly this size, so that a read beyond it is seen by the address sanitizer.
    const std::vector<std::byte> piece(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
    if (reads<T>(piece)) FAIL("a message cut at byte " << cut << " of " << whole.size() << " was read");
  }
  auto flipped = whole;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit, ++flips) {
    const auto mask = static_cast<std::byte>(1u << (bit % 8));
    flipped[bit / 8] ^= mask;
    accepted += reads<T>(flipped) ? 1 : 0;
    flipped[bit / 8] ^= mask;
  }
}

std::vector<std::byte> hostile(std::initializer_list<std::uint64_t> numbers, std::size_t more = 0) {
  std::vector<std::byte> bytes(numbers.size() * 8 + more);
  std::memcpy(bytes.data(), std::data(numbers), numbers.size() * 8);
  return bytes;
}

}  // namespace

TEST_CASE("codec: any single flipped bit and any cut give undecodable or a value of the same type", "[codec][unit]") {
  messages = flips = accepted = cuts = 0;
  for (int i = 0; i < 12; ++i) {  // values of many shapes and lengths
    const auto n = static_cast<std::size_t>(i);
    const std::string word(n, static_cast<char>('a' + i));
    damage(word);
    damage(i);
    damage(std::vector<int>(n, i));
    damage(std::vector<std::string>(n, word));
    damage(std::vector<bool>(n, true));
    damage(std::map<std::string, int>{{word, i}, {"k", 1}});
    damage(std::set<int>{i, i + 1});
    damage(std::unordered_map<int, std::string>{{i, word}});
    damage(std::list<std::pair<int, bool>>(n, {i, true}));
    damage(std::optional<std::string>(word));
    damage(std::variant<int, std::string, std::vector<bool>>(word));
    damage(std::tuple<bool, colour, yes_no, point>(true, colour::red, yes_no::yes, {1, 2}));
    damage(std::array<std::optional<int>, 3>{i, std::nullopt, i});
    damage(std::bitset<13>(n));
    damage(record{word, {{1, 2}}, {{word, i}}, i, word, {}});
    damage(tree{i, {{1, {}}, {2, {{3, {}}}}}});
    damage(with_serialize(i, {word}));
    damage(celsius(static_cast<double>(i)));
  }
  damage(make_nested());
  damage(chain{1, std::make_unique<chain>(2, std::make_unique<chain>(3, nullptr))});
  const auto shared = std::make_shared<graph>(graph{3, {}});
  damage(graph{1, {shared, std::make_shared<graph>(graph{2, {shared}}), nullptr}});
  std::cout << "figure: " << messages << " messages, " << flips << " bits flipped (" << accepted << " still values), "
            << cuts << " cuts\n";
  CHECK(messages >= 200);
}

TEST_CASE("codec: a count beyond the bytes that came is refused before memory is taken", "[codec][unit]") {
  std::size_t most = 0;
  const auto refused = [&most](auto type, std::uint64_t count, std::size_t more) {
    using T = typename decltype(type)::type;
    const auto bytes = hostile({count}, more);
    std::size_t largest = 0;
    bool read = false;
    {
      const count_requests hook;
      read = reads<T>(bytes);
      largest = hook.largest();
    }
    most = std::max(most, largest);
    CHECK_FALSE(read);
    CHECK(largest <= 2 * bytes.size() + 64 * 1024);
  };
  for (const std::uint64_t count :
       {~0ull, 1ull << 63, 0x8000'0000'0000'0001ull, 0xffff'ffffull, 1ull << 32, 1'000ull, (1ull << 61) + 1})
    for (const std::size_t more : {0u, 1u, 7u, 100u}) {
      refused(std::type_identity<std::string>{}, count, more);
      refused(std::type_identity<std::u32string>{}, count, more);
      refused(std::type_identity<std::vector<double>>{}, count, more);
      refused(std::type_identity<std::vector<std::string>>{}, count, more);
      refused(std::type_identity<std::vector<nothing>>{}, count, more);
      refused(std::type_identity<std::vector<silent>>{}, count, more);
      refused(std::type_identity<std::vector<std::array<std::optional<double>, 100>>>{}, count, more);
      refused(std::type_identity<std::vector<std::monostate>>{}, count, more);
      refused(std::type_identity<std::list<nothing>>{}, count, more);
      refused(std::type_identity<std::deque<bool>>{}, count, more);
      refused(std::type_identity<std::forward_list<char>>{}, count, more);
      refused(std::type_identity<std::map<char, nothing>>{}, count, more);
      refused(std::type_identity<std::unordered_set<int>>{}, count, more);
      refused(std::type_identity<std::valarray<char>>{}, count, more);
      refused(std::type_identity<std::filesystem::path>{}, count, more);
      refused(std::type_identity<with_serialize>{}, count, more);
      if (count > 8 * more) refused(std::type_identity<std::vector<bool>>{}, count, more);
    }
  std::cout << "figure: largest request for a hostile count: " << most << " bytes\n";
}

TEST_CASE("codec: an element that is large in memory is not reserved ahead of its bytes", "[codec][unit]") {
  // 60,000 elements of 8 KB are promised, and each could be there with one byte; they are not.
  using big = std::optional<std::array<double, 1000>>;
  auto bytes = hostile({60'000}, 60'000);
  bytes[8 + 20] = std::byte{2};
  std::size_t largest = 0;
  bool read = true;
  {
    const count_requests hook;
    read = reads<std::vector<big>>(bytes);
    largest = hook.largest();
  }
  CHECK_FALSE(read);
  CHECK(largest <= 2 * bytes.size() + 64 * 1024 + 32 * sizeof(big));
}

TEST_CASE("codec: nesting bombs end at depth 64", "[codec][unit]") {
  std::vector<std::byte> pointers(1'000'000, std::byte{1});
  CHECK_FALSE(reads<chain>(pointers));

  std::vector<std::byte> trees;
  for (int i = 0; i < 100'000; ++i) {
    const auto one = hostile({1});
    trees.insert(trees.end(), 4, std::byte{});
    trees.insert(trees.end(), one.begin(), one.end());
  }
  CHECK_FALSE(reads<tree>(trees));
}

TEST_CASE("codec: flags, bools, indices and bits must be what a writer writes", "[codec][unit]") {
  const auto byte = [](unsigned value) { return std::vector<std::byte>{static_cast<std::byte>(value)}; };
  CHECK(reads<bool>(byte(1)));
  CHECK_FALSE(reads<bool>(byte(2)));
  CHECK_FALSE(reads<yes_no>(byte(2)));
  CHECK_FALSE(reads<std::optional<nothing>>(byte(2)));
  CHECK_FALSE(reads<std::unique_ptr<int>>(byte(2)));
  CHECK_FALSE((reads<std::variant<nothing, nothing>>(byte(2))));
  CHECK_FALSE(reads<std::bitset<3>>(byte(8)));
  CHECK_FALSE(reads<std::monostate>(byte(1)));
  std::vector<std::byte> bools = hostile({3}, 3);
  bools[9] = std::byte{2};
  CHECK_FALSE(reads<std::deque<bool>>(bools));
}

TEST_CASE("codec: shared objects are told apart by number and type", "[codec][unit]") {
  using two = std::pair<std::shared_ptr<int>, std::shared_ptr<std::string>>;
  // The second pointer says: the object that the first one has. It is an int.
  auto bytes = encode_to_buffer(std::make_shared<int>(4)).bytes;
  const auto again = hostile({1}, 1);
  bytes.insert(bytes.end(), again.begin(), again.end());
  CHECK_FALSE(reads<two>(bytes));
  // An object inside itself would never be freed.
  std::vector<std::byte> knot = hostile({1}, 1);
  knot.back() = std::byte{1};
  const auto rest = hostile({1, 1}, 1);
  knot.insert(knot.end(), 4, std::byte{});
  knot.insert(knot.end(), rest.begin(), rest.end());
  CHECK_FALSE(reads<std::shared_ptr<graph>>(knot));
}

TEST_CASE("codec: bytes left over are refused", "[codec][unit]") {
  auto bytes = encode_to_buffer(make_record()).bytes;
  bytes.push_back(std::byte{});
  CHECK_FALSE(reads<record>(bytes));
}

TEST_CASE("codec: whatever a user's decode throws, the message is undecodable", "[codec][unit]") {
  const double cold = -300;
  const auto bytes = encode_to_buffer(cold).bytes;
  const std::string text = what_of([&] { return decode_whole<celsius>(bytes), 0; });
  CHECK(text.find("colder than cold") != std::string::npos);
  CHECK(text.find("celsius") != std::string::npos);
  CHECK_ERRC(round_trip(moody()), undecodable);
}
