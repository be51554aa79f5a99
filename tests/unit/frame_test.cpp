// Frames on a stream that is cut, damaged, or hostile.

#include "wire/frame.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cstring>
#include <iostream>
#include <string>

using namespace mp::wire;

namespace {

std::vector<std::byte> make_frame(frame_kind kind, std::size_t body_bytes, std::uint64_t correlation = 0) {
  const auto header = encode_header({kind, 0, body_bytes, 0x1234567890abcdef, correlation});
  std::vector<std::byte> bytes(header.begin(), header.end());
  for (std::size_t i = 0; i < body_bytes; ++i) bytes.push_back(static_cast<std::byte>(i * 7));
  return bytes;
}

void feed(frame_assembler& assembler, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto room = assembler.room();
    const std::size_t n = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), n);
    assembler.came(n);
    bytes = bytes.subspan(n);
  }
}

}  // namespace

TEST_CASE("frame: a header arrives as it was", "[frame][unit]") {
  for (const auto kind : {frame_kind::hello, frame_kind::message, frame_kind::answer, frame_kind::close}) {
    const frame_header header{kind, 253, 1ull << 32, ~0ull, 42};
    const auto bytes = encode_header(header);
    const auto read = decode_header(bytes);
    REQUIRE(read.has_value());
    CHECK(*read == header);
  }
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
    const auto kind = static_cast<frame_kind>(1 + i % static_cast<int>(frame_kind::last));
    auto bytes = encode_header({kind, static_cast<std::uint16_t>(i), static_cast<std::uint64_t>(i) << 20, 1, 2});
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit, ++flips) {
      bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      const auto read = decode_header(bytes);
      if (read) {
        CHECK(read->length <= frame_limits{}.body_bytes);
        CHECK(read->kind <= frame_kind::last);
        CHECK(encode_header(*read) == bytes);
      } else {
        ++refused;
      }
      bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    }
  }
  std::cout << "figure: " << flips << " bits of 200 headers flipped, " << refused << " refused\n";
  CHECK(refused >= 200 * 32);  // magic and version alone
}

TEST_CASE("frame: a stream cut at every byte waits for the rest and loses nothing", "[frame][unit]") {
  std::vector<std::byte> stream;
  for (const std::size_t n : {0u, 1u, 31u, 100u}) {
    const auto one = make_frame(frame_kind::message, n, n);
    stream.insert(stream.end(), one.begin(), one.end());
  }
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    frame_assembler assembler;
    std::vector<std::uint64_t> seen;
    const auto take = [&] {
      for (;;) {
        const auto got = assembler.next();
        REQUIRE(got.has_value());
        if (!*got) break;
        CHECK((*got)->body.size() == (*got)->header.correlation);
        for (std::size_t i = 0; i < (*got)->body.size(); ++i) CHECK((*got)->body[i] == static_cast<std::byte>(i * 7));
        seen.push_back((*got)->header.correlation);
      }
    };
    feed(assembler, std::span(stream).first(cut));
    take();
    const bool whole = cut == 0 || cut == 32 || cut == 65 || cut == 128 || cut == stream.size();
    CHECK(assembler.in_the_middle() == !whole);
    feed(assembler, std::span(stream).subspan(cut));
    take();
    CHECK(seen == std::vector<std::uint64_t>{0, 1, 31, 100});
    CHECK_FALSE(assembler.in_the_middle());
  }
}

TEST_CASE("frame: memory follows the bytes that came, not those promised", "[frame][unit]") {
  frame_assembler assembler;
  feed(assembler, encode_header({frame_kind::message, 0, 1ull << 32, 0, 0}));
  std::size_t came = frame_header_bytes;
  for (int i = 0; i < 400; ++i) {
    const std::vector<std::byte> piece(10'000);
    feed(assembler, piece);
    came += piece.size();
    CHECK(assembler.capacity() <= 2 * came + 64 * 1024);
  }
  const auto got = assembler.next();
  REQUIRE(got.has_value());
  CHECK_FALSE(got->has_value());
}

TEST_CASE("frame: a large body does not stay in memory once it was taken", "[frame][unit]") {
  frame_assembler assembler;
  feed(assembler, make_frame(frame_kind::message, 8 << 20));
  REQUIRE(assembler.next().value().has_value());
  assembler.room();
  CHECK(assembler.capacity() <= 64 * 1024);
}

TEST_CASE("frame: after damage a stream gives nothing more", "[frame][unit]") {
  frame_assembler assembler;
  auto bytes = make_frame(frame_kind::message, 4);
  bytes[0] ^= std::byte{1};
  feed(assembler, bytes);
  CHECK(assembler.next().error() == mp::errc::bad_frame);
  feed(assembler, make_frame(frame_kind::message, 4));
  CHECK(assembler.next().error() == mp::errc::bad_frame);
}
