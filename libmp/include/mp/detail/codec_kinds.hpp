#pragma once
/// @file
/// Which types the codec knows, and which way each travels. One place decides; reading, writing, hashing and the concepts
/// follow it.
///
/// Shape:    kind_of<T> names the way. Containers of the standard library are recognised by their shape and their
///           namespace, so that this header includes none of theirs.
/// Threads:  types only.             Processes: types only.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/cereal_forms.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/detail/type_name.hpp"
#include "mp/unique_fd.hpp"

#include <boost/pfr/tuple_size.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace mp {
template <class T>
struct codec;
}

namespace mp::detail {

template <class H>
struct handle_codec;

template <class T>
concept is_complete = requires {
  sizeof(T);
};
/// The type has a handle_codec: it names an object of the library and may travel.
template <class T>
concept is_handle = is_complete<handle_codec<T>>;
/// The user wrote mp::codec<T>.
template <class T>
concept has_hook = is_complete<mp::codec<T>>;

/// How a type travels.
enum class kind {
  number,       // every bit pattern is a value: its bytes
  extended,     // long double: its bytes without the padding
  boolean,      // one byte, 0 or 1
  enumeration,  // its underlying type
  string,
  sequence,  // emplace_back
  bits,      // vector<bool>, bitset: packed
  forward_list,
  valarray,
  array,
  map,
  set,
  adaptor,  // stack, queue, priority_queue: what they hold
  optional,
  variant,
  tuple,  // and pair
  complex,
  duration,
  time_point,
  calendar,  // std::chrono::year_month_day ..
  path,
  unique_ptr,
  shared_ptr,
  empty,  // a class without members
  descriptor,
  handle,
  hook,
  cereal,
  aggregate,
  // refused, each with its own sentence
  pointer,
  reference,
  view,
  function,
  stateful_order,
  pointer_to_array,
  derived_aggregate,
  array_inside,
  hidden_functions,
  unknown
};

// By name, so that <deque>, <list>, <set>, <filesystem> .. need not be included here.
template <class T>
inline constexpr bool is_std = type_name<T>().starts_with("std::");
template <class T>
constexpr bool has_prefix(std::string_view prefix) noexcept {
  return type_name<T>().starts_with(prefix);
}

template <class T, template <class...> class C>
inline constexpr bool is_a = false;
template <template <class...> class C, class... A>
inline constexpr bool is_a<C<A...>, C> = true;
template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
concept string_shape = is_std<T> && requires(T t) {
  typename T::traits_type;
  t.push_back(t[0]);
  t.c_str();
};
template <class T>
concept sequence_shape = is_std<T> && requires(T t) {
  typename T::value_type;
  t.emplace_back();
  t.size();
  t.begin();
};
template <class T>
concept forward_list_shape = is_std<T> && requires(T t) {
  typename T::value_type;
  t.before_begin();
};
template <class T>
concept set_shape = is_std<T> && requires(T t, typename T::key_type k) {
  typename T::value_type;
  t.emplace_hint(t.end(), std::move(k));
};
template <class T>
concept map_shape = is_std<T> && requires(T t) {
  typename T::key_type;
  typename T::mapped_type;
  t.size();
  t.begin();
};
template <class T>
concept adaptor_shape = is_std<T> && requires(T t) {
  typename T::container_type;
  t.pop();
  t.size();
};
template <class T>
concept path_shape = is_std<T> && requires(const T t) {
  typename T::string_type;
  t.native();
  T::preferred_separator;
};
template <class T>
concept view_shape = is_std<T> &&(has_prefix<T>("std::basic_string_view<") || has_prefix<T>("std::span<") ||
                                  has_prefix<T>("std::initializer_list<") || has_prefix<T>("std::ranges::") ||
                                  has_prefix<T>("std::reference_wrapper<") || has_prefix<T>("std::weak_ptr<"));
template <class T>
concept function_shape = std::is_function_v<T> || std::is_member_pointer_v<T> ||
                         (std::is_pointer_v<T>&& std::is_function_v<std::remove_pointer_t<T>>) ||
                         (is_std<T> && (has_prefix<T>("std::function<") || has_prefix<T>("std::_Bind") ||
                                        has_prefix<T>("std::move_only_function<")));

/// Order, hash and equality are made anew where a container arrives, so they must not carry values.
template <class T>
consteval bool orders_by_type_alone() {
  if constexpr (requires { typename T::hasher; })
    return std::is_empty_v<typename T::hasher> && std::is_empty_v<typename T::key_equal>;
  else if constexpr (requires { typename T::key_compare; })
    return std::is_empty_v<typename T::key_compare>;
  else if constexpr (requires { typename T::value_compare; })
    return std::is_empty_v<typename T::value_compare>;
  else
    return true;
}

// Converts to the bases of T only: the first initialiser of an aggregate with bases is its base. (A first member that
// takes anything takes a stranger, too.)
template <class T>
struct any_base_of {
  template <class B>
  requires(std::is_base_of_v<B, T> && !std::is_same_v<B, T>) operator B() const;
};
struct stranger {};
template <class T>
inline constexpr bool has_base = requires {
  T{any_base_of<T>{}};
}
&&!requires { T{stranger{}}; };

// A C array in an aggregate takes as many initialisers as it has elements, but only one pair of braces. So with braces
// at its place those behind it are too many.
template <std::size_t>
struct anything {
  template <class U>
  operator U() const;
};
template <class T, std::size_t... Before, std::size_t... Behind>
consteval bool is_array_at(std::index_sequence<Before...>, std::index_sequence<Behind...>) {
  return requires { T{anything<Before>()..., {}}; }
  &&!requires { T{anything<Before>()..., {}, anything<Behind>()...}; };
}
template <class T, std::size_t... I>
consteval bool any_is_array(std::index_sequence<I...>) {
  return (is_array_at<T>(std::make_index_sequence<I>(), std::make_index_sequence<sizeof...(I) - I - 1>()) || ...);
}
template <class T>
inline constexpr bool has_array = any_is_array<T>(std::make_index_sequence<boost::pfr::tuple_size_v<T>>());

template <class T>
consteval kind find_kind() {
  if constexpr (is_handle<T>)
    return kind::handle;
  else if constexpr (has_hook<T>)
    return kind::hook;
  else if constexpr (std::is_reference_v<T>)
    return kind::reference;
  else if constexpr (function_shape<T>)
    return kind::function;
  else if constexpr (std::is_pointer_v<T> || std::is_null_pointer_v<T> || std::is_array_v<T>)
    return kind::pointer;
  else if constexpr (std::is_same_v<T, bool>)
    return kind::boolean;
  else if constexpr (std::is_same_v<T, long double>)
    return kind::extended;
  else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::byte>)
    return kind::number;
  else if constexpr (std::is_enum_v<T>)
    return kind::enumeration;
  else if constexpr (!std::is_class_v<T>)
    return kind::unknown;  // void, unions, vector extensions
  else if constexpr (std::is_same_v<T, unique_fd>)
    return kind::descriptor;
  else if constexpr (is_a<T, std::optional>)
    return kind::optional;
  else if constexpr (is_a<T, std::variant>)
    return kind::variant;
  else if constexpr (is_a<T, std::tuple> || is_a<T, std::pair>)
    return std::tuple_size_v<T> == 0 ? kind::empty : kind::tuple;
  else if constexpr (is_std_array<T>)
    return std::tuple_size_v<T> == 0 ? kind::empty : kind::array;
  else if constexpr (is_a<T, std::unique_ptr>)
    return requires(T p) { p[0]; }
  ? kind::pointer_to_array
  : std::is_same_v<typename T::deleter_type, std::default_delete<typename T::element_type>> ? kind::unique_ptr
                                                                                            : kind::unknown;
  else if constexpr (is_a<T, std::shared_ptr>) return requires(T p) {
    p[0];
  }
  ? kind::pointer_to_array : kind::shared_ptr;
  else if constexpr (view_shape<T>) return kind::view;
  else if constexpr (string_shape<T>) return kind::string;
  else if constexpr (has_prefix<T>("std::vector<bool") || has_prefix<T>("std::bitset<")) return kind::bits;
  else if constexpr (map_shape<T>) return orders_by_type_alone<T>() ? kind::map : kind::stateful_order;
  else if constexpr (set_shape<T>) return orders_by_type_alone<T>() ? kind::set : kind::stateful_order;
  else if constexpr (adaptor_shape<T>) return orders_by_type_alone<T>() ? kind::adaptor : kind::stateful_order;
  else if constexpr (sequence_shape<T>) return kind::sequence;
  else if constexpr (forward_list_shape<T>) return kind::forward_list;
  else if constexpr (has_prefix<T>("std::valarray<")) return kind::valarray;
  else if constexpr (path_shape<T>) return kind::path;
  else if constexpr (has_prefix<T>("std::complex<")) return kind::complex;
  else if constexpr (is_a<T, std::chrono::duration>) return kind::duration;
  else if constexpr (is_a<T, std::chrono::time_point>) return kind::time_point;
  else if constexpr (has_prefix<T>("std::chrono::")) return std::is_trivially_copyable_v<T> &&
          std::has_unique_object_representations_v<T>
      ? kind::calendar
      : kind::unknown;
  else if constexpr (has_cereal_functions<T>) return kind::cereal;
  else if constexpr (std::is_same_v<T, std::monostate>) return kind::empty;
  else if constexpr (std::is_aggregate_v<T> && !is_std<T>) {
    if constexpr (hides_serialize<T>)
      return kind::hidden_functions;
    else if constexpr (has_base<T>)
      return kind::derived_aggregate;
    else if constexpr (std::is_empty_v<T>)
      return kind::empty;
    else
      return has_array<T> ? kind::array_inside : kind::aggregate;
  }
  else return kind::unknown;
}

template <class T>
inline constexpr kind kind_of = find_kind<std::remove_cv_t<T>>();

template <class T>
concept refused_kind = kind_of<T>
>= kind::pointer;

}  // namespace mp::detail
