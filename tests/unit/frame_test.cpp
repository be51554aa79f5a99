// The header of what travels over a socket, damaged and hostile. Whole records: record_test.cpp.

#include "wire/frame.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cstring>
#include <iostream>

using namespace mp::wire;

TEST_CASE("frame: a header arrives as it was", "[frame][unit]") {
  const frame_header header{frame_kind::message, 253, 1ull << 32, ~0ull, 42};
  const auto read = decode_header(encode_header(header));
  REQUIRE(read.has_value());
  CHECK(*read == header);
}

TEST_CASE("frame: a header that promises more than the limit is too_large, whatever it promises", "[frame][unit]") {
  const frame_limits limits{.body_bytes = 64 << 20, .descriptors = 8};
  for (const std::uint64_t length : {(64ull << 20) + 1, 0xffff'ffffull, 1ull << 63, ~0ull})
    CHECK(decode_header(encode_header({frame_kind::message, 0, length, 0, 0}), limits).error() == mp::errc::too_large);
  CHECK(decode_header(encode_header({frame_kind::message, 9, 0, 0, 0}), limits).error() == mp::errc::too_large);
  CHECK(decode_header(encode_header({frame_kind::message, 8, 64 << 20, 0, 0}), limits).has_value());
}

TEST_CASE("frame: every flipped bit of a header gives an error or a header", "[frame][unit]") {
  std::size_t refused = 0, flips = 0;
  for (int i = 0; i < 200; ++i) {
    auto bytes =
        encode_header({frame_kind::message, static_cast<std::uint16_t>(i), static_cast<std::uint64_t>(i) << 20, 1, 2});
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit, ++flips) {
      bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      const auto read = decode_header(bytes);
      if (read) {
        CHECK(read->length <= frame_limits{}.body_bytes);
        CHECK(read->kind == frame_kind::message);
        CHECK(encode_header(*read) == bytes);
      } else {
        ++refused;
      }
      bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    }
  }
  std::cout << "figure: " << flips << " bits of 200 headers flipped, " << refused << " refused\n";
  CHECK(refused >= 200 * 48);  // magic, version and kind alone
}
