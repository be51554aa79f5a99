#pragma once
/// @file
/// Tasks that return a span: what travels for it, and how it is seen where it lies.
/// Not for users: `pool` is their way in.
///
/// Shape:    as a vector of the elements, or, if the span is a part of the task's large arguments, their place.
/// Threads:  functions of values.    Processes: functions of values.
/// Source:   doc/decisions/0016-results-in-place.md.

#include "mp/detail/codec_traits.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace mp::detail {

/// What a task gives that returns a span: what lies there. imap alone shows it where it lies.
template <class R>
struct result_as_it_travels {
  using type = R;
  static constexpr bool is_span = false;
};
template <class E, std::size_t N>
requires(is_bulk<std::remove_const_t<E>> && !std::is_same_v<std::remove_const_t<E>, bool> &&
         alignof(E) <= alignof(std::max_align_t)) struct result_as_it_travels<std::span<E, N>> {
  using type = std::vector<std::remove_const_t<E>>;
  static constexpr bool is_span = true;
};
template <class R>
inline constexpr bool is_span_result = result_as_it_travels<R>::is_span;

/// Elements that travel as a vector of them.
template <class E>
struct shown_elements {
  std::span<const E> all;
};
template <class E>
void encode(encoder& e, const shown_elements<E>& shown) {
  e.number<std::uint64_t>(shown.all.size());
  e.raw(shown.all.data(), shown.all.size_bytes());
}

/// A span's elements, where they lie. Throws: error{undecodable}.
template <class E>
std::span<E> elements_at(std::span<const std::byte> bytes) {
  if (bytes.size() % sizeof(E) != 0 || reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(E) != 0)
    throw_error(errc::undecodable, "the place of a result holds no whole elements");
  // They are the receiver's now.
  return {reinterpret_cast<E*>(const_cast<std::byte*>(bytes.data())), bytes.size() / sizeof(E)};
}
/// The same as a vector, if that is what R is.
template <class R>
inline constexpr bool comes_from_span = false;
template <class E>
inline constexpr bool comes_from_span<std::vector<E>> = is_span_result<std::span<E>>;
template <class R>
requires comes_from_span<R> R copy_of_elements(std::span<const std::byte> bytes) {
  const auto all = elements_at<const typename R::value_type>(bytes);
  return R(all.begin(), all.end());
}

}  // namespace mp::detail
