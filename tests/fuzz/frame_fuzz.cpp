// libFuzzer: hostile bytes as a stream of frames, cut into pieces as the bytes say. Memory must follow what came.

#include "wire/frame.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

using namespace mp::wire;

namespace {

void check(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto rest = std::as_bytes(std::span(data, size));
  frame_assembler assembler({.body_bytes = 1 << 20, .descriptors = 8});
  std::size_t came = 0, given = 0;
  bool damaged = false;
  while (!rest.empty()) {
    const auto room = assembler.room();
    check(!room.empty());
    const std::size_t piece = std::min({room.size(), rest.size(), 1 + std::to_integer<std::size_t>(rest[0]) * 3});
    std::memcpy(room.data(), rest.data(), piece);
    assembler.came(piece);
    came += piece;
    rest = rest.subspan(piece);
    check(assembler.capacity() <= 2 * came + 64 * 1024);
    for (;;) {
      const auto got = assembler.next();
      if (got.has_error()) damaged = true;
      check(!damaged || got.has_error());
      if (damaged || !*got) break;
      const frame& f = **got;
      check(f.header.length == f.body.size() && f.header.length <= 1 << 20 && f.header.descriptors <= 8);
      given += frame_header_bytes + f.body.size();
      // The header is what lies before the body.
      check(std::memcmp(encode_header(f.header).data(), f.body.data() - frame_header_bytes, frame_header_bytes) == 0);
    }
    check(given <= came);
  }
  check(damaged || assembler.in_the_middle() == (given != came));
  return 0;
}
