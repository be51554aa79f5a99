#pragma once
/// @file
/// The name of a type as the compiler writes it: for messages, and for telling types apart at compile time.
///
/// Threads:  values.                 Processes: the same in every process of one build.

#include <cstdint>
#include <string_view>

namespace mp::detail {

template <class T>
constexpr auto type_name_text() noexcept {
  return std::string_view(__PRETTY_FUNCTION__);
}

/// "int", "std::vector<int>", "main()::<lambda(int)>". The spelling is the compiler's own.
template <class T>
constexpr std::string_view type_name() noexcept {
  // g++: "constexpr auto mp::detail::type_name_text() [with T = int]"; clang: "auto ..type_name_text() [T = int]".
  constexpr std::string_view text = type_name_text<T>();
  constexpr std::size_t begin = text.find("T = ") + 4;
  return text.substr(begin, text.size() - begin - 1);
}

/// FNV-1a: short, constexpr, and good enough to notice a changed type. No defence against a forger.
constexpr std::uint64_t hash_text(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325u) noexcept {
  for (const char c : text) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed;
}

}  // namespace mp::detail
