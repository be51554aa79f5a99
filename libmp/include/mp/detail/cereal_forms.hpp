#pragma once
/// @file
/// Which of cereal's forms a type has, and how its functions are called.
///
/// Model:    cereal's rules: one of six forms, each with or without a class version; cereal::specialize decides between
///           several; functions that a class keeps to itself are called through its friend cereal::access.
/// Threads:  types only.             Processes: types only.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/codec_cereal.hpp"

#include <cstdint>
#include <type_traits>
#include <utility>

namespace mp::detail {

/// In the order of cereal::specialization; a class version comes last where a function takes one.
enum class cereal_form : int {
  member_serialize,
  member_split,  // save and load
  member_minimal,
  free_serialize,
  free_split,
  free_minimal,
  none
};
constexpr cereal_form as_member(cereal_form f) noexcept {
  return static_cast<cereal_form>(static_cast<int>(f) % static_cast<int>(cereal_form::free_serialize));
}

// ---- How a function is called: as everybody may call it, through cereal::access, as a free function

struct by_anyone {
  template <class A, class T, class... V>
  static auto serialize(A& ar, T& t, V... v) -> decltype(void(t.serialize(ar, v...))) {
    static_cast<void>(t.serialize(ar, v...));
  }
  template <class A, class T, class... V>
  static auto save(A& ar, const T& t, V... v) -> decltype(void(t.save(ar, v...))) {
    static_cast<void>(t.save(ar, v...));
  }
  template <class A, class T, class... V>
  static auto load(A& ar, T& t, V... v) -> decltype(void(t.load(ar, v...))) {
    static_cast<void>(t.load(ar, v...));
  }
  template <class A, class T, class... V>
  static auto save_minimal(const A& ar, const T& t, V... v) -> decltype(t.save_minimal(ar, v...)) {
    return t.save_minimal(ar, v...);
  }
  template <class A, class T, class M, class... V>
  static auto load_minimal(const A& ar, T& t, const M& saved, V... v)
      -> decltype(void(t.load_minimal(ar, saved, v...))) {
    static_cast<void>(t.load_minimal(ar, saved, v...));
  }
};

struct by_access {
  template <class T>
  using access = typename later<T, cereal::access>::type;

  template <class A, class T, class... V>
  static auto serialize(A& ar, T& t, V... v) -> decltype(void(access<T>::member_serialize(ar, t, v...))) {
    static_cast<void>(access<T>::member_serialize(ar, t, v...));
  }
  template <class A, class T, class... V>
  static auto save(A& ar, const T& t, V... v) -> decltype(void(access<T>::member_save(ar, t, v...))) {
    static_cast<void>(access<T>::member_save(ar, t, v...));
  }
  template <class A, class T, class... V>
  static auto load(A& ar, T& t, V... v) -> decltype(void(access<T>::member_load(ar, t, v...))) {
    static_cast<void>(access<T>::member_load(ar, t, v...));
  }
  template <class A, class T, class... V>
  static auto save_minimal(const A& ar, const T& t, V... v) -> decltype(access<T>::member_save_minimal(ar, t, v...)) {
    return access<T>::member_save_minimal(ar, t, v...);
  }
  template <class A, class T, class M, class... V>
  static auto load_minimal(const A& ar, T& t, const M& saved, V... v)
      -> decltype(void(access<T>::member_load_minimal(ar, t, saved, v...))) {
    static_cast<void>(access<T>::member_load_minimal(ar, t, saved, v...));
  }
};

// Outside of a class, whose members would hide what is looked for.
template <class A, class T, class... V>
auto free_serialize(A& ar, T& t, V... v) -> decltype(void(serialize(ar, t, v...))) {
  static_cast<void>(serialize(ar, t, v...));
}
template <class A, class T, class... V>
auto free_save(A& ar, const T& t, V... v) -> decltype(void(save(ar, t, v...))) {
  static_cast<void>(save(ar, t, v...));
}
template <class A, class T, class... V>
auto free_load(A& ar, T& t, V... v) -> decltype(void(load(ar, t, v...))) {
  static_cast<void>(load(ar, t, v...));
}
template <class A, class T, class... V>
auto free_save_minimal(const A& ar, const T& t, V... v) -> decltype(save_minimal(ar, t, v...)) {
  return save_minimal(ar, t, v...);
}
template <class A, class T, class M, class... V>
auto free_load_minimal(const A& ar, T& t, const M& saved, V... v) -> decltype(void(load_minimal(ar, t, saved, v...))) {
  static_cast<void>(load_minimal(ar, t, saved, v...));
}
struct by_name {
  template <class A, class T, class... V>
  static auto serialize(A& ar, T& t, V... v) -> decltype(free_serialize(ar, t, v...)) {
    free_serialize(ar, t, v...);
  }
  template <class A, class T, class... V>
  static auto save(A& ar, const T& t, V... v) -> decltype(free_save(ar, t, v...)) {
    free_save(ar, t, v...);
  }
  template <class A, class T, class... V>
  static auto load(A& ar, T& t, V... v) -> decltype(free_load(ar, t, v...)) {
    free_load(ar, t, v...);
  }
  template <class A, class T, class... V>
  static auto save_minimal(const A& ar, const T& t, V... v) -> decltype(free_save_minimal(ar, t, v...)) {
    return free_save_minimal(ar, t, v...);
  }
  template <class A, class T, class M, class... V>
  static auto load_minimal(const A& ar, T& t, const M& saved, V... v)
      -> decltype(free_load_minimal(ar, t, saved, v...)) {
    free_load_minimal(ar, t, saved, v...);
  }
};

// ---- Which form it is

template <class By, cereal_form F, class T, class... V>
consteval bool can_write() {
  if constexpr (as_member(F) == cereal_form::member_serialize) return requires(cereal_writer & w, T & t, V... v) {
      By::serialize(w, t, v...);
    };
  else if constexpr (as_member(F) == cereal_form::member_split)
    return requires(cereal_writer & w, const T& t, V... v) { By::save(w, t, v...); };
  else
    return requires(const cereal_writer& w, const T& t, V... v) { By::save_minimal(w, t, v...); };
}
template <class By, cereal_form F, class T, class... V>
consteval bool can_read() {
  if constexpr (as_member(F) == cereal_form::member_serialize) return requires(cereal_reader & r, T & t, V... v) {
      By::serialize(r, t, v...);
    };
  else if constexpr (as_member(F) == cereal_form::member_split)
    return requires(cereal_reader & r, T & t, V... v) { By::load(r, t, v...); };
  else
    return requires(const cereal_writer& w, const cereal_reader& r, T& t, V... v) {
      By::load_minimal(r, t, By::save_minimal(w, t, v...), v...);
    };
}
/// `Writes`: the functions that write, else those that read.
template <bool Writes, class By, cereal_form F, class T, class... V>
consteval bool can_call() {
  if constexpr (Writes)
    return can_write<By, F, T, V...>();
  else
    return can_read<By, F, T, V...>();
}
/// With a version or without; both at once is neither, as cereal has it.
template <bool Writes, class By, cereal_form F, class T>
inline constexpr bool is_callable = can_call<Writes, By, F, T>() != can_call<Writes, By, F, T, std::uint32_t>();

template <bool Writes, cereal_form F, class T>
using way_to_call =
    std::conditional_t<(F >= cereal_form::free_serialize),
                       std::conditional_t<is_callable<Writes, by_name, F, T>, by_name, void>,
                       std::conditional_t<is_callable<Writes, by_anyone, F, T>, by_anyone,
                                          std::conditional_t<is_callable<Writes, by_access, F, T>, by_access, void>>>;

template <bool Writes, cereal_form F, class T>
consteval bool is_specialized() {
  using archive = std::conditional_t<Writes, cereal_writer, cereal_reader>;
  using said = cereal::specialize<archive, T, static_cast<cereal::specialization>(F)>;
  if constexpr (requires { sizeof(said); })
    return !std::is_base_of_v<std::false_type, said>;  // cereal's own general one is false
  else
    return false;
}

template <bool Writes, class T, int... F>
consteval cereal_form find_cereal_form(std::integer_sequence<int, F...>) {
  constexpr bool named[] = {is_specialized<Writes, static_cast<cereal_form>(F), T>()...};
  constexpr bool there[] = {!std::is_void_v<way_to_call<Writes, static_cast<cereal_form>(F), T>>...};
  constexpr bool named_and_missing = ((named[F] && !there[F]) || ...);
  static_assert(!named_and_missing, "mp: cereal::specialize names functions that this type does not have");
  int found = 0, at = 0;
  for (int f = 0; f < static_cast<int>(sizeof...(F)); ++f) {
    if (named[f]) return static_cast<cereal_form>(f);
    if (there[f]) ++found, at = f;
  }
  return found == 1 ? static_cast<cereal_form>(at) : cereal_form::none;
}
template <bool Writes, class T>
inline constexpr cereal_form cereal_form_of =
    find_cereal_form<Writes, T>(std::make_integer_sequence<int, static_cast<int>(cereal_form::none)>());

// What cereal refuses with a sentence would else travel as if its functions were not there.
template <class T>
concept saves_what_is_not_const = requires(cereal_writer& w, T& t) {
  t.save(w);
}
|| requires(cereal_writer& w, T& t) { save(w, t); }
|| requires(const cereal_writer& w, T& t) { t.save_minimal(w); };

template <class T>
consteval bool find_cereal_functions() {
  constexpr cereal_form writes = cereal_form_of<true, T>, reads = cereal_form_of<false, T>;
  static_assert(!saves_what_is_not_const<T> || saves_what_is_not_const<const T>,
                "mp: the save function of a type must be const, as cereal has it");
  static_assert(
      writes == cereal_form::none || as_member(writes) != cereal_form::member_minimal || reads != cereal_form::none,
      "mp: a type with cereal's save_minimal needs a load_minimal that takes what that gives");
  return writes != cereal_form::none && reads != cereal_form::none;
}

/// T is written and read through functions that its author wrote for cereal.
template <class T>
concept has_cereal_functions = find_cereal_functions<T>();

struct named_serialize {
  int serialize;
};
template <class T>
struct and_named : T, named_serialize {};
/// T has a member of this name that is not for everybody, and cereal's access is not there to look through: whether T
/// travels by it cannot be told. (Several public functions of this name look the same from here.)
template <class T>
concept hides_serialize = std::is_class_v<T> && !std::is_final_v<T> && !requires {
  sizeof(typename later<T, cereal::access>::type);
}
&&!requires { &and_named<T>::serialize; }
&&!requires { &T::serialize; };

// ---- Calling them

template <class By, cereal_form F, class T, class... V>
void write_by(cereal_writer& ar, const T& value, V... version) {
  if constexpr (as_member(F) == cereal_form::member_serialize)
    By::serialize(ar, const_cast<T&>(value), version...);
  else if constexpr (as_member(F) == cereal_form::member_split)
    By::save(ar, value, version...);
  else
    ar(By::save_minimal(ar, value, version...));
}
template <class By, cereal_form F, class T, class... V>
void read_by(cereal_reader& ar, T& value, V... version) {
  if constexpr (as_member(F) == cereal_form::member_serialize)
    By::serialize(ar, value, version...);
  else if constexpr (as_member(F) == cereal_form::member_split)
    By::load(ar, value, version...);
  else {
    using saved = decltype(By::save_minimal(std::declval<const cereal_writer&>(), value, version...));
    std::remove_cvref_t<saved> minimal{};
    ar(minimal);
    By::load_minimal(ar, value, minimal, version...);
  }
}

/// Calls the cereal functions of `value` itself: of an object, or of a base of one. Throws: what they throw.
template <class T>
void write_by_functions(cereal_writer& ar, const T& value) {
  constexpr cereal_form form = cereal_form_of<true, T>;
  using by = way_to_call<true, form, T>;
  if constexpr (can_write<by, form, T>())
    write_by<by, form>(ar, value);
  else
    write_by<by, form>(ar, value, ar.template version_of<T>());
}
template <class T>
void read_by_functions(cereal_reader& ar, T& value) {
  constexpr cereal_form form = cereal_form_of<false, T>;
  using by = way_to_call<false, form, T>;
  if constexpr (can_read<by, form, T>())
    read_by<by, form>(ar, value);
  else
    read_by<by, form>(ar, value, ar.template version_of<T>());
}
template <class B>
void write_base(cereal_writer& ar, const B& base) {
  if constexpr (has_cereal_functions<B>)
    write_by_functions(ar, base);
  else
    ar.write(base);
}
template <class B>
void read_base(cereal_reader& ar, B& base) {
  if constexpr (has_cereal_functions<B>)
    read_by_functions(ar, base);
  else
    ar.read(base);
}

}  // namespace mp::detail
