#pragma once
/// @file
/// Which values can be messages, arguments and results, and the hook for types that the codec does not know.
///
/// Model:    pickle for C++ types: known at compile time, no code is ever named by the bytes.
/// Shape:    doc/wire-format.md. Known without a line: arithmetic, enums, strings, the standard containers, optional,
///           variant, tuple, pair, array, bitset, complex, chrono, filesystem::path, unique_ptr and shared_ptr (static
///           type), handles, aggregates of these (nested; no base classes, C arrays, bit-fields, unions), and what has cereal's
///           serialize or save/load. Values nest up to 64 deep, a message has up to 4 GiB.
/// Copies:   one when a value is sent, one when it is received.
/// Threads:  functions of values.    Processes: copied.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/codec_basic.hpp"
#include "mp/detail/codec_containers.hpp"
#include "mp/detail/codec_pointers.hpp"
#include "mp/detail/type_hash.hpp"
#include "mp/error.hpp"

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace mp {

/// The hook for a type that the codec does not know: specialise it next to your type.
///
/// ```cpp
/// template <> struct mp::codec<polygon> {
///   static std::vector<point> encode(const polygon& p) { return p.corners(); }   // any known type
///   static polygon decode(std::vector<point>&& corners) { return polygon(std::move(corners)); }
/// };
/// ```
/// If decode throws, the message is undecodable. T need not be default-constructible.
///
/// Threads:  static functions only.   Processes: static functions only.
template <class T>
struct codec;

/// The codec knows T, or T is a handle that may travel.
template <class T>
concept sendable = std::movable<std::remove_cvref_t<T>> && detail::sendable_value<std::remove_cvref_t<T>>;

namespace detail {

/// Writes one value. Throws: error{unencodable}, error{too_large}; what the user's functions throw.
template <class T>
void encode(encoder& e, const T& value) {
  write_value(e, value);
}

/// Reads one value. Throws: error{undecodable}; what a handle's import throws.
template <class T>
T decode(decoder& d) {
  try {
    return read_value<T>(d);
  } catch (const error&) {
    throw;
  } catch (...) {
    rethrow_undecodable(type_name<T>());
  }
}

/// A message on its own, with the descriptors that travel along.
///
/// Threads:  thread-compatible.   Processes: process-bound.
struct encoded {
  std::vector<std::byte> bytes{};
  std::vector<unique_fd> fds{};
};

/// Encodes by `write(encoder&, context)` into memory that grows to what is needed. Throws: as encode.
encoded encode_by(void (*write)(encoder&, const void* context), const void* context);
/// The same by `write(encoder&)`.
template <class Write>
encoded encode_with(const Write& write) {
  return encode_by([](encoder& e, const void* context) { (*static_cast<const Write*>(context))(e); }, &write);
}

template <class T>
encoded encode_to_buffer(const T& value) {
  return encode_with([&value](encoder& e) { encode(e, value); });
}

}  // namespace detail
}  // namespace mp
