// What the codec knows at compile time, and the encoder's two passes.

#include "codec_types.hpp"
#include "support/catch.hpp"
#include "type_hash_spelled.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <functional>
#include <set>
#include <span>
#include <string_view>

using namespace mp_test;
using namespace mp::detail;

namespace {

union overlay {
  int number;
  float real;
};
struct with_base : point {
  int z = 0;
};
struct with_pointer {
  int* where;
};
struct stateful_less {
  int salt;
  bool operator()(int a, int b) const { return (a ^ salt) < (b ^ salt); }
};

// Known.
static_assert(sendable_value<record> && sendable_value<tree> && sendable_value<chain> && sendable_value<celsius>);
static_assert(sendable_value<mp::unique_fd> && sendable_value<std::vector<mp::unique_fd>>);
// Refused, also deep inside.
static_assert(!mp::sendable<int*> && !mp::sendable<const char*> && !mp::sendable<void*> && !mp::sendable<void (*)()>);
static_assert(!mp::sendable<std::string_view> && !mp::sendable<std::span<int>> && !mp::sendable<std::function<void()>>);
static_assert(!mp::sendable<std::reference_wrapper<int>> && !mp::sendable<std::weak_ptr<int>>);
static_assert(!mp::sendable<std::unique_ptr<int[]>> && !mp::sendable<std::atomic<int>> && !mp::sendable<overlay>);
static_assert(!mp::sendable<with_base> && !mp::sendable<with_pointer> && !mp::sendable<std::vector<with_pointer>>);
static_assert(!mp::sendable<std::set<int, stateful_less>> && !mp::sendable<std::map<int, std::string_view>>);
static_assert(!sendable_value<void> && !sendable_value<int[3]> && !sendable_value<int&>);

// Plain bytes only where every bit pattern is a value and nothing is padding.
static_assert(is_bulk<int> && is_bulk<double> && is_bulk<std::byte> && is_bulk<colour> && is_bulk<point>);
static_assert(is_bulk<std::array<point, 3>> && is_bulk<std::chrono::milliseconds> && is_bulk<std::complex<double>>);
static_assert(is_bulk<std::chrono::steady_clock::time_point>);
static_assert(!is_bulk<bool> && !is_bulk<yes_no> && !is_bulk<plain_enum> && !is_bulk<padded> && !is_bulk<long double>);
static_assert(!is_bulk<std::array<bool, 2>> && !is_bulk<std::string> && !is_bulk<record> && !is_bulk<nothing>);

static_assert(contains_handle<mp::unique_fd> && contains_handle<std::map<int, std::vector<mp::unique_fd>>>);
static_assert(!contains_handle<record> && !contains_handle<tree>);

namespace before {
struct changing {
  int a;
  std::vector<int> b;
};
}  // namespace before

}  // namespace

TEST_CASE("type hash: the same for the same type, another for another", "[codec][unit]") {
  CHECK(type_hash<record>() == type_hash<const record>());
  CHECK(type_hash<record>() != type_hash<nested>());
  CHECK(type_hash<int>() != type_hash<unsigned>());
  CHECK(type_hash<std::vector<point>>() != type_hash<std::vector<padded>>());
  CHECK(type_hash<tree>() != type_hash<chain>());
  CHECK(type_hash<int>() != 0);
}

namespace one {
struct shape {
  int a;
  std::vector<double> b;
};
inline auto hash() { return type_hash<std::vector<shape>>(); }
}  // namespace one

TEST_CASE("type hash: a changed field changes it, deep inside, too", "[codec][unit]") {
  // Two programs cannot have two types of one name in one test, so the walk is compared with the name left out.
  struct a {
    int x;
    std::vector<double> y;
  };
  struct b {
    int x;
    std::vector<float> y;
  };
  struct c {
    std::vector<double> y;
    int x;
  };
  const auto walk = [](auto parts) { return hash_types(1, parts, types<>{}); };
  CHECK(hash_types(1, parts_of<a>{}, types<>{}) != hash_types(1, parts_of<b>{}, types<>{}));
  CHECK(hash_types(1, parts_of<a>{}, types<>{}) != hash_types(1, parts_of<c>{}, types<>{}));
  CHECK(walk(parts_of<a>{}) == hash_types(1, types<int, std::vector<double>>{}, types<>{}));
  CHECK(one::hash() != type_hash<std::vector<before::changing>>());
}

TEST_CASE("type hash: the same in every translation unit, however the compiler spells the type there",
          "[codec][unit]") {
#ifndef __clang__  // which writes one form only
  CHECK(spelled_out() ==
        std::vector<std::string>{
            "std::vector<mp_test::fresh, std::allocator<mp_test::fresh> >",
            "mp_test::with_implied<float, mp_test::fresh>",
            "std::map<int, mp_test::fresh, std::less<int>, std::allocator<std::pair<const int, mp_test::fresh> > >"});
#endif
  const auto hashes = HASHES_OF_SPELLED;
  CHECK(hashes == hashes_spelled_out());
  CHECK(std::set<std::uint64_t>(hashes.begin(), hashes.end()).size() == hashes.size());
  CHECK(type_hash<std::array<double, 3>>() != type_hash<std::array<double, 4>>());
  CHECK(type_hash<std::set<int>>() != type_hash<std::set<int, std::greater<int>>>());
}

TEST_CASE("encoder: what does not fit is counted, and nothing is written behind the gap", "[codec][unit]") {
  const auto value = make_nested();
  const auto whole = encode_to_buffer(value);

  for (std::size_t room = 0; room <= whole.bytes.size(); ++room) {
    std::vector<std::byte> memory(room + 8, std::byte{0xee});
    encoder e(std::span<std::byte>(memory).first(room));
    encode(e, value);
    CHECK(e.size() == whole.bytes.size());
    CHECK(e.overflowed() == (room < whole.bytes.size()));
    CHECK(std::equal(memory.begin() + static_cast<std::ptrdiff_t>(room), memory.end(),
                     std::vector<std::byte>(8, std::byte{0xee}).begin()));
    // A prefix of the message, then the untouched rest.
    const auto [there, expected] =
        std::mismatch(memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(room), whole.bytes.begin());
    CHECK(std::all_of(there, memory.end(), [](std::byte b) { return b == std::byte{0xee}; }));
  }
}

TEST_CASE("encoder: padding never travels", "[codec][unit]") {
  std::array<std::byte, 2> noise{std::byte{0x00}, std::byte{0xff}};
  std::vector<std::vector<std::byte>> messages;
  for (const std::byte fill : noise) {
    alignas(padded) std::array<std::byte, sizeof(padded)> memory;
    memory.fill(fill);
    auto* value = new (memory.data()) padded;
    value->letter = 'a';
    value->number = 7;
    messages.push_back(encode_to_buffer(*value).bytes);
  }
  CHECK(messages[0] == messages[1]);
  CHECK(messages[0].size() == 5);
}

TEST_CASE("encoder: a descriptor is duplicated once, also when the message takes two passes", "[codec][unit]") {
  int ends[2] = {};
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const mp::unique_fd read(ends[0]);
  std::pair<std::string, mp::unique_fd> value(std::string(10'000, 'x'), mp::unique_fd(ends[1]));

  auto message = encode_to_buffer(value);
  REQUIRE(message.fds.size() == 1);
  CHECK(message.fds[0].get() != value.second.get());
  CHECK((::fcntl(message.fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);

  decoder d(message.bytes, std::move(message.fds));
  auto arrived = decode<std::pair<std::string, mp::unique_fd>>(d);
  d.finish();
  value.second.reset();
  CHECK(::write(arrived.second.get(), "!", 1) == 1);
  char heard = 0;
  CHECK(::read(read.get(), &heard, 1) == 1);
}

TEST_CASE("decoder: descriptors and handles must match in number", "[codec][unit]") {
  auto message = encode_to_buffer(std::vector<mp::unique_fd>());
  {
    message.fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    decoder d(message.bytes, std::move(message.fds));
    decode<std::vector<mp::unique_fd>>(d);
    CHECK_ERRC(d.finish(), undecodable);
  }
  const std::byte one[] = {std::byte{1}};
  decoder d(one);
  CHECK_ERRC(decode<mp::unique_fd>(d), undecodable);
}
