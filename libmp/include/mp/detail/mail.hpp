#pragma once
/// @file
/// One message of a mailbox: several typed values in an envelope that says whose they are.
/// Not for users: `address` and `mailbox` are their way in.
///
/// Shape:    sender's token and pid, its address the first time, what a request adds, the types' hashes, then the values as the codec writes
///           them. The types can be compared before anything is decoded.
/// Copies:   one on send, one on receive.
/// Threads:  values.                 Processes: the same build on both sides.
/// Source:   doc/wire-format.md.

#include "mp/codec.hpp"
#include "mp/detail/callable.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/detail/message.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/detail/type_hash.hpp"
#include "mp/detail/type_name.hpp"
#include "mp/duration.hpp"

#include <sys/types.h>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace mp::detail {

/// Remembers how a type is called, for `any_message::type_names`. Runs before main in every process of the program.
bool name_type(std::uint64_t hash, std::string_view name) noexcept;
template <class T>
inline const bool type_is_named = name_type(type_hash<T>(), type_name<T>());

/// What travels for a value: itself, or the owner of what a view or a literal shows.
template <class V>
using mailed = owner_of_t<std::decay_t<V>>;

/// Values on their way out, type-erased: nothing of mailboxes is compiled for each list of types.
struct letter {
  std::span<const std::uint64_t> types;
  void (*write)(const void* values, encoder&) = nullptr;
  const void* values = nullptr;
};

/// What a request adds to its message.
struct question {
  std::uint64_t number = 0;  // 0: it is none
  std::uint64_t answer_type = 0;
};

/// A message that arrived.
struct mail {
  std::uint64_t sender_token = 0;
  pid_t sender_pid = 0;
  std::uint64_t request = 0;  // its number with who asks; 0: it is none
  std::uint64_t answer_type = 0;
  std::vector<std::uint64_t> types;
  std::vector<std::byte> values;
  std::vector<unique_fd> fds;
};

template <class... T>
bool holds(const mail& m) noexcept {
  constexpr std::array<std::uint64_t, sizeof...(T)> wanted{type_hash<T>()...};
  return std::equal(m.types.begin(), m.types.end(), wanted.begin(), wanted.end());
}

/// Takes the values out. Throws error{undecodable}.
template <class... T>
std::tuple<T...> open_mail(mail& m) {
  static_cast<void>((type_is_named<T> || ...));
  decoder d(m.values, std::move(m.fds));
  std::tuple<T...> values{decode<T>(d)...};  // braces: from left to right
  d.finish();
  return values;
}

/// Calls f(letter) for these values; on success what could only be given away is closed here.
template <class F, class... V>
auto with_letter(F&& f, V&&... values) {
  static_assert(sizeof...(V) > 0, "mp: a message holds at least one value");
  static_cast<void>((type_is_named<mailed<V>> || ...));
  static constexpr std::array<std::uint64_t, sizeof...(V)> types{type_hash<mailed<V>>()...};
  using kept =
      std::tuple<std::conditional_t<std::is_same_v<mailed<V>, std::remove_cvref_t<V>>, const mailed<V>&, mailed<V>>...>;
  const kept all(values...);
  const letter out{types,
                   [](const void* from, encoder& e) {
                     std::apply([&](const auto&... v) { (encode(e, v), ...); }, *static_cast<const kept*>(from));
                   },
                   &all};
  auto result = std::forward<F>(f)(out);
  if (static_cast<bool>(result)) {
    const auto give_away = [](auto&& v) {
      using T = std::remove_cvref_t<decltype(v)>;
      if constexpr (is_given_away<mailed<T>> && !std::is_const_v<std::remove_reference_t<decltype(v)>>)
        T gone(std::move(v));
    };
    (give_away(values), ...);
  }
  return result;
}

}  // namespace mp::detail
