#pragma once
/// @file
/// How the containers of the standard library travel: a count, then the elements.
///
/// Shape:    a count is compared with the bytes left before anything is allocated; what is reserved ahead of the
///           elements stays within the decoder's budget. Arrays of plain values are one copy.
/// Threads:  functions of values.    Processes: functions of values.
/// Source:   doc/decisions/0002-wire-format.md; FAULTS rows 53-55.

#include "mp/detail/codec_basic.hpp"
#include "mp/detail/populate.hpp"
#include "mp/detail/std_parts.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>

namespace mp::detail {

template <class T>
struct io<T, kind::sequence> {
  using element = typename T::value_type;
  static constexpr bool contiguous = requires(T t) { t.data(); };

  static void write(encoder& e, const T& value) {
    e.number<std::uint64_t>(value.size());
    if constexpr (is_bulk<element> && contiguous) {
      e.raw(value.data(), value.size() * sizeof(element));
    } else {
      e.enter();
      for (const auto& v : value) write_value(e, v);
      e.leave();
    }
  }

  static T read(decoder& d) {
    const std::size_t n = d.count(least_bytes<element>);
    if constexpr (is_bulk<element> && contiguous)
      return read_array(d, n);
    else
      return read_elements(d, n);
  }

  /// Into memory that is there.
  static void read_again(decoder& d,
                         T& value) requires(is_bulk<element>&& requires(T& t, const element* p) { t.assign(p, p); }) {
    const std::size_t n = d.count(least_bytes<element>);
    const std::byte* bytes = d.take(n * sizeof(element));
    if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(element) == 0) {
      const auto* first = reinterpret_cast<const element*>(bytes);
      if constexpr (std::is_trivially_copyable_v<element>)
        if (value.size() == n) return copy_bytes(value.data(), bytes, n * sizeof(element));
      value.assign(first, first + n);
    } else {
      decoder piece({bytes, n * sizeof(element)});
      value = read_array(piece, n);
    }
  }

private:
  static T read_array(decoder& d, std::size_t n) {
    const std::byte* bytes = d.take(n * sizeof(element));
    // Constructing from a range spares clearing the memory first; that needs aligned elements.
    if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(element) == 0) {
      const auto* first = reinterpret_cast<const element*>(bytes);
      if constexpr (requires(T & t) { t.reserve(n), t.assign(first, first); })
        if (n >= populate_from / sizeof(element)) {
          T value;
          value.reserve(n);
          populate(value.data(), n * sizeof(element));
          value.assign(first, first + n);
          return value;
        }
      return T(first, first + n);
    }
    if constexpr (std::is_default_constructible_v<element>) {
      T value(n);
      if (n != 0) std::memcpy(static_cast<void*>(value.data()), bytes, n * sizeof(element));
      return value;
    } else {
      decoder piece({bytes, n * sizeof(element)});
      return read_elements(piece, n);
    }
  }

  static T read_elements(decoder& d, std::size_t n) {
    d.enter();
    T value;
    [[maybe_unused]] std::size_t granted = 0;
    if constexpr (requires { value.reserve(n); }) value.reserve(granted = d.reserve(n, sizeof(element)));
    for (std::size_t i = 0; i != n; ++i) value.emplace_back(read_value<element>(d));
    d.reserved_are_read(granted, sizeof(element));
    d.leave();
    return value;
  }
};

template <class T>
struct io<T, kind::forward_list> {
  static void write(encoder& e, const T& value) {
    e.number(static_cast<std::uint64_t>(std::distance(value.begin(), value.end())));
    e.enter();
    for (const auto& v : value) write_value(e, v);
    e.leave();
  }
  static T read(decoder& d) {
    d.enter();
    T value;
    auto at = value.before_begin();
    for (std::size_t n = d.count(least_bytes<typename T::value_type>); n != 0; --n)
      at = value.emplace_after(at, read_value<typename T::value_type>(d));
    d.leave();
    return value;
  }
};

template <class T>
struct io<T, kind::valarray> {
  using element = typename T::value_type;
  static_assert(is_bulk<element>, "mp: a std::valarray in a message holds plain numbers; send a std::vector instead");
  static void write(encoder& e, const T& value) {
    e.number<std::uint64_t>(value.size());
    if (value.size() != 0) e.raw(&value[0], value.size() * sizeof(element));
  }
  static T read(decoder& d) {
    const std::size_t n = d.count(sizeof(element));
    T value(n);
    if (n != 0) d.raw(&value[0], n * sizeof(element));
    return value;
  }
};

// vector<bool> and bitset: eight a byte, the first one lowest.
template <class T>
struct io<T, kind::bits> {
  static constexpr bool fixed = requires(T t) { t.to_ullong(); };

  static void write(encoder& e, const T& value) {
    const std::size_t n = value.size();
    if constexpr (!fixed) e.number<std::uint64_t>(n);
    std::uint8_t byte = 0;
    for (std::size_t i = 0; i != n; ++i) {
      byte = static_cast<std::uint8_t>(byte | (value[i] ? 1u << (i % 8) : 0u));
      if (i % 8 == 7) e.number(std::exchange(byte, std::uint8_t{0}));
    }
    if (n % 8 != 0 || (fixed && n == 0)) e.number(byte);
  }
  static T read(decoder& d) {
    T value;
    if constexpr (fixed) {
      read_bits(d, value, value.size());
      if (value.size() == 0 && d.number<std::uint8_t>() != 0) decoder::throw_invalid("bits beyond the last one");
    } else {
      const auto n = d.number<std::uint64_t>();
      if (n / 8 > d.left()) decoder::throw_invalid("more bits promised than sent");
      value.resize(static_cast<std::size_t>(n));
      read_bits(d, value, value.size());
    }
    return value;
  }

private:
  static void read_bits(decoder& d, T& value, std::size_t n) {
    std::uint8_t byte = 0;
    for (std::size_t i = 0; i != n; ++i) {
      if (i % 8 == 0) byte = d.number<std::uint8_t>();
      value[i] = (byte & 1u) != 0;
      byte = static_cast<std::uint8_t>(byte >> 1);
    }
    if (byte != 0) decoder::throw_invalid("bits beyond the last one");
  }
};

template <class T>
struct io<T, kind::array> {  // of what is no plain value
  using element = std::remove_cv_t<typename T::value_type>;
  static constexpr std::size_t size = std::tuple_size_v<T>;

  static void write(encoder& e, const T& value) {
    for (const auto& v : value) write_value(e, v);
  }
  static T read(decoder& d) {
    if constexpr (std::is_default_constructible_v<element> && !contains_handle<element>) {
      T value;
      for (auto& v : value) read_into(d, v);
      return value;
    } else {
      return read_each(d, std::make_index_sequence<size>{});
    }
  }

private:
  template <std::size_t... I>
  static T read_each(decoder& d, std::index_sequence<I...>) {
    return T{{(static_cast<void>(I), read_value<element>(d))...}};
  }
};

template <class T>
struct io<T, kind::map> {
  using key = typename T::key_type;
  using mapped = typename T::mapped_type;

  static void write(encoder& e, const T& value) {
    e.number<std::uint64_t>(value.size());
    e.enter();
    for (const auto& [k, v] : value) {
      write_value(e, k);
      write_value(e, v);
    }
    e.leave();
  }
  static T read(decoder& d) {
    d.enter();
    T value;
    for (std::size_t n = d.count(least_bytes<key> + least_bytes<mapped>); n != 0; --n) {
      auto k = read_value<key>(d);
      value.emplace_hint(value.end(), std::move(k), read_value<mapped>(d));
    }
    d.leave();
    return value;
  }
};

template <class T>
struct io<T, kind::set> {
  using key = typename T::key_type;

  static void write(encoder& e, const T& value) {
    e.number<std::uint64_t>(value.size());
    e.enter();
    for (const auto& v : value) write_value(e, v);
    e.leave();
  }
  static T read(decoder& d) {
    d.enter();
    T value;
    for (std::size_t n = d.count(least_bytes<key>); n != 0; --n) value.emplace_hint(value.end(), read_value<key>(d));
    d.leave();
    return value;
  }
};

template <class T>
struct io<T, kind::adaptor> {
  using container = typename T::container_type;

  static void write(encoder& e, const T& value) { write_value(e, opened::content(value)); }
  static T read(decoder& d) {
    // A priority_queue orders what it is given: bytes that are no heap do no harm.
    if constexpr (requires { typename T::value_compare; })
      return T(typename T::value_compare{}, read_value<container>(d));
    else
      return T(read_value<container>(d));
  }

private:
  struct opened : T {  // `c` is a protected member, which the standard names
    static const container& content(const T& value) { return value.*(&opened::c); }
  };
};

}  // namespace mp::detail
