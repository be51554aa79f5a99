#pragma once
/// @file
/// A number for the structure of a type: its name, and what it is made of, down to the last field.
///
/// Shape:    FNV-1a over names as the compiler spells them; a changed, added or moved field changes it.
/// Threads:  values.                 Processes: the same in every process of one build.

#include "mp/detail/codec_traits.hpp"

#include <cstdint>

namespace mp::detail {

template <class T, class... Seen>
consteval std::uint64_t hash_type(std::uint64_t seed);
template <class... P, class... Seen>
consteval std::uint64_t hash_types(std::uint64_t seed, types<P...>, types<Seen...>) {
  ((seed = hash_type<std::remove_cv_t<P>, Seen...>(seed)), ...);
  return hash_text(")", seed);
}
template <class T, class... Seen>
consteval std::uint64_t hash_type(std::uint64_t seed) {
  if constexpr (is_handle<T>) {
    const std::uint64_t h = handle_codec<T>::hash;
    for (int shift = 0; shift != 64; shift += 8) seed = (seed ^ ((h >> shift) & 0xff)) * 0x100000001b3u;
    return seed;
  } else {
    seed = hash_text(type_name<T>(), seed);
    if constexpr (is_one_of<T, Seen...>)
      return seed;
    else
      return hash_types(seed, parts_of<T>{}, types<T, Seen...>{});
  }
}

/// The structure of T as a number; never 0.
template <class T>
constexpr std::uint64_t type_hash() {
  constexpr std::uint64_t h = hash_type<std::remove_cv_t<T>>(hash_text("mp1"));
  return h == 0 ? 1 : h;
}

}  // namespace mp::detail
