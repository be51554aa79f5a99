#pragma once
/// @file
/// A number for the structure of a type: its name, and what it is made of, down to the last field.
///
/// Shape:    FNV-1a over names and what they are made of; a changed, added or moved field changes it. The same type has
///           one hash in every translation unit, though g++ spells it `std::vector<int>` or with the allocator, as it was
///           first met there: arguments of templates are hashed as types, and those that containers take by themselves
///           are left out of names.
/// Threads:  values.                 Processes: the same in every process of one build.
/// Source:   doc/decisions/0012-type-hash.md.

#include "mp/detail/codec_traits.hpp"

#include <cstdint>

namespace mp::detail {

/// Hashes a name without blanks and without the arguments that a compiler may spell or leave out.
consteval std::uint64_t hash_name(std::string_view name, std::uint64_t seed) {
  constexpr std::string_view implied[] = {"std::allocator<", "std::char_traits<",    "std::less<",
                                          "std::hash<",      "std::default_delete<", "std::equal_to<"};
  const auto end_of_implied = [&](std::size_t at) {
    while (at != name.size() && name[at] == ' ') ++at;
    for (const auto word : implied) {
      if (!name.substr(at).starts_with(word)) continue;
      int depth = 1;
      for (at += word.size(); at != name.size() && depth != 0; ++at) depth += (name[at] == '<') - (name[at] == '>');
      return at;
    }
    return std::string_view::npos;
  };
  for (std::size_t i = 0; i != name.size(); ++i) {
    if (name[i] == ',')
      if (const std::size_t end = end_of_implied(i + 1); end != name.npos) {
        i = end - 1;
        continue;
      }
    if (name[i] != ' ') seed = hash_text(name.substr(i, 1), seed);
  }
  return seed;
}
/// "std::vector" of "std::vector<int>".
consteval std::string_view without_arguments(std::string_view name) {
  int depth = 0;
  for (std::size_t i = name.size(); i-- != 0;) {
    depth += (name[i] == '>') - (name[i] == '<');
    if (depth == 0) return name.substr(0, i);
  }
  return name;
}

/// The name of a type, the same however it is spelled.
template <class T>
struct canonical_name {
  static consteval std::uint64_t hash(std::uint64_t seed) { return hash_name(type_name<T>(), seed); }
};
template <template <class...> class C, class... A>
struct canonical_name<C<A...>> {
  static consteval std::uint64_t hash(std::uint64_t seed) {
    seed = hash_text("<", hash_name(without_arguments(type_name<C<A...>>()), seed));
    ((seed = hash_text(",", canonical_name<A>::hash(seed))), ...);
    return hash_text(">", seed);
  }
};
template <template <class, auto...> class C, class A, auto N, auto... More>
struct canonical_name<C<A, N, More...>> {
  static consteval std::uint64_t hash(std::uint64_t seed) {
    seed = hash_text("<", hash_name(without_arguments(type_name<C<A, N, More...>>()), seed));
    return hash_text(">", value<More..., N>(canonical_name<A>::hash(seed)));
  }

private:
  template <auto... V>
  static consteval std::uint64_t value(std::uint64_t seed) {
    ((seed = hash_name(type_name<std::integral_constant<decltype(V), V>>(), seed)), ...);
    return seed;
  }
};

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
    seed = canonical_name<T>::hash(seed);
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
