#pragma once
/// @file
/// One typed item as a channel's message, both ways.
/// Not for users.
///
/// Copies:   one on put, one on get: into the channel's memory and out of it. Small messages are encoded once, on the
///           stack; of large ones the length is counted first, then they are encoded where they will lie.
/// Threads:  free functions.         Processes: -
/// Source:   doc/decisions/0006-channels.md.

#include "mp/codec.hpp"
#include "mp/detail/channel.hpp"
#include "mp/detail/codec_traits.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp::detail {

/// So much is encoded on the stack before the length is known: 1 KiB holds the usual record.
inline constexpr std::size_t stack_room = 1024;

[[noreturn]] void throw_changed_while_encoded();
[[noreturn]] void throw_wrong_size(std::size_t is, std::size_t expected);

template <class T, class... Seen>
consteval bool carries_transferable();
template <class... P, class... Seen>
consteval bool any_carries_transferable(types<P...>, types<Seen...>) {
  return (carries_transferable<std::remove_cv_t<P>, Seen...>() || ...);
}
template <class T, class... Seen>
consteval bool carries_transferable() {
  if constexpr (is_one_of<T, Seen...>)
    return false;
  else if constexpr (kind_of<T> == kind::handle || kind_of<T> == kind::descriptor)
    return !std::is_copy_constructible_v<T>;
  else
    return any_carries_transferable(parts_of<T>{}, types<T, Seen...>{});
}
/// T holds something that must be given away: a sender, a receiver, a descriptor ..
template <class T>
inline constexpr bool is_given_away = carries_transferable<std::remove_cv_t<T>>();

/// Calls f(outgoing) with `value` encoded, or ready to encode itself in place.
template <class T, class F>
decltype(auto) with_message(const T& value, F&& f) {
  outgoing out;
  if constexpr (is_bulk<T>) {
    out.size = sizeof(T);
    out.bytes = std::as_bytes(std::span<const T, 1>(&value, 1));
    return std::forward<F>(f)(out);
  } else {
    std::byte room[stack_room];
    encoder first(room);
    encode(first, value);
    out.size = first.size();
    out.fds = first.attachments();
    if (!first.overflowed()) {
      out.bytes = std::span<const std::byte>(room, out.size);
    } else {
      out.context = const_cast<void*>(static_cast<const void*>(std::addressof(value)));
      out.write = [](void* context, std::span<std::byte> place) {
        encoder again = encoder::second_pass(place, {});
        encode(again, *static_cast<const T*>(context));
        if (again.overflowed() || again.size() != place.size()) throw_changed_while_encoded();
      };
    }
    return std::forward<F>(f)(out);
  }
}

/// Reads one item. Throws error{undecodable}.
template <class T>
T from_message(incoming&& item) {
  if constexpr (is_bulk<T>) {
    if (item.bytes.size() != sizeof(T) || !item.fds.empty()) [[unlikely]]
      throw_wrong_size(item.bytes.size(), sizeof(T));
    if constexpr (std::is_trivially_default_constructible_v<T>) {
      T value;
      std::memcpy(&value, item.bytes.data(), sizeof(T));
      return value;
    } else {
      alignas(T) std::byte place[sizeof(T)];
      std::memcpy(place, item.bytes.data(), sizeof(T));
      return *std::launder(reinterpret_cast<T*>(place));  // trivially copyable: its bytes are its value
    }
  } else {
    decoder d(item.bytes, std::move(item.fds));
    T value = decode<T>(d);
    d.finish();
    return value;
  }
}

}  // namespace mp::detail
