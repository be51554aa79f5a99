#pragma once
/// @file
/// How single values travel: numbers, strings, enums, tuples, variants, aggregates, hooks, handles. And how a type that
/// cannot travel is refused: one sentence each.
///
/// Shape:    doc/wire-format.md. write_value and read_value are the recursion; encode and decode (codec.hpp) its entry.
/// Threads:  functions of values.    Processes: functions of values.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/codec_traits.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"

#include <bit>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace mp::detail {

/// How a T of this kind is written and read. `write` may throw unencodable and too_large, `read` undecodable.
template <class T, kind K = kind_of<T>>
struct io;

/// `write` writes at least one byte for every value, so that a count can be compared with the bytes that are left.
template <class T>
void write_value(encoder& e, const T& value) {
  if constexpr (is_bulk<T> && sizeof value <= 256)
    e.few<sizeof value>(&value);
  else if constexpr (is_bulk<T>)
    e.raw(&value, sizeof value);
  else
    io<T>::write(e, value);
}

template <class T>
T read_value(decoder& d) {
  if constexpr (is_bulk<T>) {
    struct bytes {
      alignas(T) unsigned char of[sizeof(T)];
    } b;
    d.raw(b.of, sizeof b.of);
    return std::bit_cast<T>(b);
  } else {
    return io<T>::read(d);
  }
}

/// Into an object that is there already.
template <class T>
void read_into(decoder& d, T& value) {
  if constexpr (kind_of<T> == kind::cereal)
    io<T>::read_into(d, value);
  else
    value = read_value<T>(d);
}

/// Bytes that any value of T takes at least.
template <class T>
inline constexpr std::size_t least_bytes = is_bulk<T> ? sizeof(T) : 1;

[[noreturn]] void throw_unencodable(const char* why);
/// Turns the exception being handled into error{undecodable}: "reading <type> threw <its type and text>".
[[noreturn]] void rethrow_undecodable(std::string_view type);

// ---- Refusals: one sentence each, which says what to do instead

template <class T>
struct cannot_travel {
  static void write(encoder&, const T&) {}
  static T read(decoder&);
};
#define MP_REFUSE(KIND, SENTENCE)                    \
  template <class T>                                 \
  struct io<T, kind::KIND> : cannot_travel<T> {      \
    static_assert(sizeof(T*) == 0, "mp: " SENTENCE); \
  }
MP_REFUSE(pointer,
          "a pointer or C array means nothing in another process; send the value itself, a std::string, a std::vector, "
          "a std::array or a std::unique_ptr");
MP_REFUSE(view,
          "a view, a reference wrapper or a weak_ptr does not own what it shows; send a std::string, a std::vector or "
          "the value itself");
MP_REFUSE(
    function,
    "a function cannot be part of a message; make it the callable of a process, a task or a pool, or send a value "
    "that says what to do");
MP_REFUSE(
    stateful_order,
    "the container's order, hash or equality carries a value that would be lost; use a stateless function object");
MP_REFUSE(pointer_to_array, "a smart pointer to an array does not know its length; send a std::vector");
MP_REFUSE(array_inside,
          "an aggregate with a C array is not walked; make the array a std::array, or specialise mp::codec<T>");
MP_REFUSE(hidden_functions,
          "an aggregate keeps its serialize to itself, or has several: include <cereal/access.hpp>, which its friend "
          "cereal::access needs and which tells cereal's functions from others");
MP_REFUSE(derived_aggregate,
          "an aggregate with base classes is not walked; make the base a member, or specialise mp::codec<T>");
MP_REFUSE(
    unknown,
    "the codec does not know this type; make it an aggregate of known types, give it cereal's serialize (a private "
    "one needs <cereal/access.hpp>), or specialise mp::codec<T>");
#undef MP_REFUSE
template <class T>
struct io<T, kind::reference> {
  static_assert(sizeof(std::remove_reference_t<T>*) == 0,
                "mp: a reference means nothing in another process; send the value itself");
  static void write(encoder&, T) {}
};

// ---- Single values

template <class T>
struct io<T, kind::boolean> {
  static void write(encoder& e, bool value) { e.number<std::uint8_t>(value ? 1 : 0); }
  static bool read(decoder& d) { return d.flag(); }
};

template <class T>
struct io<T, kind::extended> {
  // x87: 64 bits of mantissa, 80 in all; the rest is padding and may be old stack.
  static constexpr std::size_t value_bytes = LDBL_MANT_DIG == 64 ? 10 : sizeof(T);
  static void write(encoder& e, const T& value) { e.raw(&value, value_bytes); }
  static T read(decoder& d) {
    T value = 0;
    d.raw(&value, value_bytes);
    return value;
  }
};

// Compilers let an enum without fixed underlying type hold every value of that type (unless -fstrict-enums is given).
template <class T>
struct io<T, kind::enumeration> {
  using number = std::underlying_type_t<T>;
  static void write(encoder& e, const T& value) { write_value(e, static_cast<number>(value)); }
  static T read(decoder& d) { return static_cast<T>(read_value<number>(d)); }
};

template <class T>
struct io<T, kind::string> {
  using character = typename T::value_type;
  static void write(encoder& e, const T& value) {
    e.number<std::uint64_t>(value.size());
    e.raw(value.data(), value.size() * sizeof(character));
  }
  static T read(decoder& d) {
    const std::size_t n = d.count(sizeof(character));
    if constexpr (sizeof(character) == 1) {
      return T(reinterpret_cast<const character*>(d.take(n)), n);
    } else {
      T value(n, character{});
      d.raw(value.data(), n * sizeof(character));
      return value;
    }
  }
};

template <class T>
struct io<T, kind::path> {
  static void write(encoder& e, const T& value) { write_value(e, value.native()); }
  static T read(decoder& d) { return T(read_value<typename T::string_type>(d)); }
};

// One byte, so that a container of these has a length that can be checked.
template <class T>
struct io<T, kind::empty> {
  static void write(encoder& e, const T&) { e.number<std::uint8_t>(0); }
  static T read(decoder& d) {
    if (d.number<std::uint8_t>() != 0) decoder::throw_invalid("something where nothing should be");
    return T{};
  }
};

template <class T>
struct io<T, kind::optional> {
  using value_type = typename T::value_type;
  static void write(encoder& e, const T& value) {
    e.number<std::uint8_t>(value ? 1 : 0);
    if (value) write_value(e, *value);
  }
  static T read(decoder& d) {
    if (!d.flag()) return std::nullopt;
    return T(std::in_place, read_value<std::remove_cv_t<value_type>>(d));
  }
};

template <class... A>
struct io<std::variant<A...>, kind::variant> {
  using T = std::variant<A...>;
  static_assert(sizeof...(A) < 256, "mp: a variant in a message may have up to 255 alternatives");

  static void write(encoder& e, const T& value) {
    if (value.valueless_by_exception()) throw_unencodable("a std::variant without value");
    e.number(static_cast<std::uint8_t>(value.index()));
    std::visit([&e](const auto& v) { write_value(e, v); }, value);
  }
  static T read(decoder& d) { return read_one_of(d, std::index_sequence_for<A...>{}); }

private:
  template <std::size_t I>
  static T read_alternative(decoder& d) {
    return T(std::in_place_index<I>, read_value<std::variant_alternative_t<I, T>>(d));
  }
  template <std::size_t... I>
  static T read_one_of(decoder& d, std::index_sequence<I...>) {
    constexpr T (*readers[])(decoder&) = {&read_alternative<I>...};
    const auto index = d.number<std::uint8_t>();
    if (index >= sizeof...(I)) decoder::throw_invalid("an alternative that its variant does not have");
    return readers[index](d);
  }
};

// In braces the elements are read from left to right.
template <class... A>
struct io<std::tuple<A...>, kind::tuple> {
  static void write(encoder& e, const std::tuple<A...>& value) {
    std::apply([&e](const auto&... v) { (write_value(e, v), ...); }, value);
  }
  static std::tuple<A...> read(decoder& d) { return std::tuple<A...>{read_value<std::remove_cv_t<A>>(d)...}; }
};
template <class A, class B>
struct io<std::pair<A, B>, kind::tuple> {
  static void write(encoder& e, const std::pair<A, B>& value) {
    write_value(e, value.first);
    write_value(e, value.second);
  }
  static std::pair<A, B> read(decoder& d) {
    return std::pair<A, B>{read_value<std::remove_cv_t<A>>(d), read_value<std::remove_cv_t<B>>(d)};
  }
};

template <class T>
struct io<T, kind::complex> {  // of long double
  static void write(encoder& e, const T& value) {
    write_value(e, value.real());
    write_value(e, value.imag());
  }
  static T read(decoder& d) {
    const auto real = read_value<typename T::value_type>(d);
    return T(real, read_value<typename T::value_type>(d));
  }
};

template <class T>
struct io<T, kind::duration> {
  static void write(encoder& e, const T& value) { write_value(e, value.count()); }
  static T read(decoder& d) { return T(read_value<typename T::rep>(d)); }
};
template <class T>
struct io<T, kind::time_point> {
  static void write(encoder& e, const T& value) { write_value(e, value.time_since_epoch()); }
  static T read(decoder& d) { return T(read_value<typename T::duration>(d)); }
};

// ---- What is made of fields

template <class T>
struct io<T, kind::aggregate> {
  static void write(encoder& e, const T& value) {
    boost::pfr::for_each_field(value, [&e](const auto& field) { write_value(e, field); });
  }
  static T read(decoder& d) { return read_fields(d, fields_of<T>{}); }

private:
  // Each field is made by its own reader: nothing is default-constructed first, which for a handle would cost an
  // object.
  template <class... F>
  static T read_fields(decoder& d, types<F...>) {
    return T{read_value<F>(d)...};
  }
};

template <class T>
struct io<T, kind::cereal> {
  static_assert(std::is_default_constructible_v<T>,
                "mp: a type with cereal's functions must be default-constructible; specialise mp::codec<T> instead");
  static void write(encoder& e, const T& value) {
    const std::size_t before = e.size();
    e.enter();
    auto& archive = cereal_writer::of(e);
    cereal_writer::object whole(archive);
    write_by_functions(archive, value);
    whole.end();
    e.leave();
    if (e.size() == before) e.number<std::uint8_t>(0);
  }
  static T read(decoder& d) {
    T value = T();  // braces would want to make the bases of an aggregate from here
    read_into(d, value);
    return value;
  }
  static void read_into(decoder& d, T& value) {
    const std::size_t before = d.left();
    d.enter();
    auto& archive = cereal_reader::of(d);
    cereal_reader::object whole(archive);
    read_by_functions(archive, value);
    whole.end();
    d.leave();
    if (d.left() == before && d.number<std::uint8_t>() != 0)
      decoder::throw_invalid("something where nothing should be");
  }
};

template <class T>
struct io<T, kind::hook> {
  using wire = hook_wire<T>;
  static void write(encoder& e, const T& value) {
    e.enter();
    write_value<wire>(e, mp::codec<T>::encode(value));
    e.leave();
  }
  static T read(decoder& d) {
    d.enter();
    wire value = read_value<wire>(d);
    d.leave();
    try {
      return mp::codec<T>::decode(std::move(value));
    } catch (...) {
      rethrow_undecodable(type_name<T>());
    }
  }
};

template <class T>
struct io<T, kind::handle> {
  static void write(encoder& e, const T& value) { handle_codec<T>::encode(e, value); }
  static T read(decoder& d) { return handle_codec<T>::decode(d); }
};

template <class T>
struct io<T, kind::descriptor> {
  static void write(encoder& e, const unique_fd& fd) {
    e.number<std::uint8_t>(fd ? 1 : 0);
    if (fd && e.attaching()) e.attach(duplicate(fd));
  }
  static unique_fd read(decoder& d) { return d.flag() ? d.take_attachment() : unique_fd{}; }
};

}  // namespace mp::detail
