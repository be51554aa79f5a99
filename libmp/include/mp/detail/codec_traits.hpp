#pragma once
/// @file
/// What the codec's types are made of, and what follows from it: what is known, what carries handles, what is copied as
/// its bytes.
///
/// Shape:    parts_of<T> lists the types inside a type; everything here walks it. Types may be recursive.
/// Threads:  types only.             Processes: types only.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/codec_kinds.hpp"

#include <boost/pfr/core.hpp>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace mp::detail {

template <class... T>
struct types {};

// ---- What is inside a type

template <class T, class I>
struct fields;
template <class T, std::size_t... I>
struct fields<T, std::index_sequence<I...>> {
  using type = types<std::remove_cv_t<boost::pfr::tuple_element_t<I, T>>...>;
};

template <class T>
using fields_of = typename fields<T, std::make_index_sequence<boost::pfr::tuple_size_v<T>>>::type;

template <class T>
struct arguments_of;
template <template <class...> class C, class... A>
struct arguments_of<C<A...>> {
  using type = types<A...>;
};

template <class T, kind K = kind_of<T>>
struct parts {
  using type = types<>;
};
template <class T, kind K>
requires(K == kind::string || K == kind::sequence || K == kind::forward_list || K == kind::valarray ||
         K == kind::array || K == kind::complex) struct parts<T, K> {
  using type = types<typename T::value_type>;
};
template <class T>
struct parts<T, kind::map> {
  using type = types<typename T::key_type, typename T::mapped_type>;
};
template <class T>
struct parts<T, kind::set> {
  using type = types<typename T::key_type>;
};
template <class T>
struct parts<T, kind::adaptor> {
  using type = types<typename T::container_type>;
};
template <class T, kind K>
requires(K == kind::optional || K == kind::variant || K == kind::tuple) struct parts<T, K> : arguments_of<T> {
};
template <class T>
struct parts<T, kind::enumeration> {
  using type = types<std::underlying_type_t<T>>;
};
template <class T, kind K>
requires(K == kind::duration || K == kind::time_point) struct parts<T, K> {
  using type = types<typename T::rep>;
};
template <class T, kind K>
requires(K == kind::unique_ptr || K == kind::shared_ptr) struct parts<T, K> {
  using type = types<std::remove_cv_t<typename T::element_type>>;
};
/// What the hook makes of T.
template <class T>
using hook_wire = std::remove_cvref_t<decltype(mp::codec<T>::encode(std::declval<const T&>()))>;
template <class T>
struct parts<T, kind::hook> {
  using type = types<hook_wire<T>>;
};
template <class T>
struct parts<T, kind::aggregate> {
  using type = fields_of<T>;
};

template <class T>
using parts_of = typename parts<std::remove_cv_t<T>>::type;

template <class T, class... Seen>
inline constexpr bool is_one_of = (std::is_same_v<T, Seen> || ...);

// Types may be recursive (a node with a vector of nodes): a type that is already being looked at adds nothing new.
template <class T, class... Seen>
consteval bool knows();
template <class... P, class... Seen>
consteval bool knows_all(types<P...>, types<Seen...>) {
  return (knows<std::remove_cv_t<P>, Seen...>() && ...);
}
template <class T, class... Seen>
consteval bool knows() {
  if constexpr (is_one_of<T, Seen...>)
    return true;
  else if constexpr (refused_kind<T>)
    return false;
  else
    return knows_all(parts_of<T>{}, types<T, Seen...>{});
}

template <class T, class... Seen>
consteval bool carries_handle();
template <class... P, class... Seen>
consteval bool any_carries_handle(types<P...>, types<Seen...>) {
  return (carries_handle<std::remove_cv_t<P>, Seen...>() || ...);
}
template <class T, class... Seen>
consteval bool carries_handle() {
  if constexpr (is_one_of<T, Seen...>)
    return false;
  else if constexpr (kind_of<T> == kind::handle || kind_of<T> == kind::descriptor)
    return true;
  else
    return any_carries_handle(parts_of<T>{}, types<T, Seen...>{});
}

/// The codec knows T: it may be an argument, a message, a result.
template <class T>
concept sendable_value = std::is_object_v<T> && knows<std::remove_cv_t<T>>();

/// T is or holds a handle or a descriptor: descriptors may travel along.
template <class T>
inline constexpr bool contains_handle = carries_handle<std::remove_cv_t<T>>();

// ---- What may be copied as bytes

/// An enum declared without `: type`, unscoped: not every value of its underlying type is one of its own.
template <class T>
inline constexpr bool has_fixed_underlying_type = requires {
  T{std::underlying_type_t<T>{}};
};

template <class T>
consteval bool copies_as_bytes();
template <class... F>
consteval bool fields_copy_as_bytes(types<F...>, std::size_t size) {
  return (copies_as_bytes<F>() && ...) && (sizeof(F) + ... + 0) == size;  // equal: no padding
}
template <class T>
consteval bool copies_as_bytes() {
  constexpr kind k = kind_of<T>;
  if constexpr (k == kind::number || k == kind::calendar)
    return true;
  else if constexpr (k == kind::enumeration)
    return has_fixed_underlying_type<T> && !std::is_same_v<std::underlying_type_t<T>, bool>;
  else if constexpr (k == kind::duration || k == kind::time_point || k == kind::complex)
    return fields_copy_as_bytes(parts_of<T>{}, k == kind::complex ? sizeof(T) / 2 : sizeof(T));
  else if constexpr (k == kind::array)
    return std::tuple_size_v<T> != 0 && copies_as_bytes<typename T::value_type>();
  else if constexpr (k == kind::aggregate)
    if constexpr (std::is_trivially_copyable_v<T>)
      return fields_copy_as_bytes(parts_of<T>{}, sizeof(T));
    else
      return false;
  else
    return false;
}

/// Always the same size, every bit pattern is a value, no padding: travels as its bytes.
template <class T>
inline constexpr bool is_bulk = copies_as_bytes<std::remove_cv_t<T>>();

}  // namespace mp::detail
