#pragma once
/// @file
/// Which types the messages of CAF actors may hold when they go to another process: each with our codec.
/// Not for users: `mp::speaks` is the way in.
///
/// Shape:    a list of {hash, test, write, read}. Bytes of another process are read by our codec alone, and become a CAF
///           message only after that.
/// Copies:   one on the way out, one on the way in.
/// Threads:  a value that nobody changes.   Processes: the same build on both sides.
/// Source:   doc/decisions/0011-caf-face.md.

#include "mp/codec.hpp"

#include <caf/atom.hpp>
#include <caf/message.hpp>
#include <caf/message_builder.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mp::detail {

/// Threads:  a value.   Processes: process-bound.
struct caf_word {
  std::uint64_t hash = 0;
  bool (*fits)(const caf::message&, std::size_t at) = nullptr;
  void (*write)(const caf::message&, std::size_t at, encoder&) = nullptr;
  void (*read)(decoder&, caf::message_builder&) = nullptr;
};
using caf_words = std::vector<caf_word>;

template <class T>
caf_word caf_word_of() {
  return {type_hash<T>(), [](const caf::message& m, std::size_t at) { return m.match_element<T>(at); },
          [](const caf::message& m, std::size_t at, encoder& e) { encode(e, m.get_as<T>(at)); },
          [](decoder& d, caf::message_builder& into) { into.append(decode<T>(d)); }};
}

/// Arithmetic, atoms, std::string, and vectors of these.
const caf_words& basic_caf_words();

/// These, and the user's.
template <class... T>
const caf_words& caf_words_of() {
  static const caf_words all = [] {
    caf_words w = basic_caf_words();
    (w.push_back(caf_word_of<T>()), ...);
    return w;
  }();
  return all;
}

}  // namespace mp::detail
