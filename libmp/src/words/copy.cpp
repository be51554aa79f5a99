// Large copies. Must leave what it wrote visible to whoever sees a later store: these stores are ordered by a fence only.

#include "mp/detail/copy.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#include <cstdint>
#endif

namespace mp::detail {

void copy_past_caches(void* to, const void* from, std::size_t n) noexcept {
#if defined(__SSE2__)
  constexpr std::size_t line = 64;
  auto* out = static_cast<std::byte*>(to);
  const auto* in = static_cast<const std::byte*>(from);
  // Whole lines of the destination; what is in front and behind goes the usual way.
  const std::size_t front = (line - reinterpret_cast<std::uintptr_t>(out) % line) % line;
  if (front + line <= n) {
    std::memcpy(out, in, front);
    out += front;
    in += front;
    n -= front;
    for (; n >= line; out += line, in += line, n -= line) {
      const auto* const source = reinterpret_cast<const __m128i*>(in);
      auto* const target = reinterpret_cast<__m128i*>(out);
      const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1), c = _mm_loadu_si128(source + 2),
                    d = _mm_loadu_si128(source + 3);
      _mm_stream_si128(target, a);
      _mm_stream_si128(target + 1, b);
      _mm_stream_si128(target + 2, c);
      _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
  }
  if (n != 0) std::memcpy(out, in, n);
#else
  std::memcpy(to, from, n);
#endif
}

}  // namespace mp::detail
