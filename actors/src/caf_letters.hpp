#pragma once
/// @file
/// CAF messages as letters and back, and what else CAF and our mailboxes tell each other: errors, exit statuses.
///
/// Threads:  free functions.         Processes: the same build on both sides.
/// Source:   doc/decisions/0011-caf-face.md.

#include "mp/detail/caf_words.hpp"
#include "mp/detail/mail.hpp"
#include "mp/exit_status.hpp"

#include <caf/error.hpp>
#include <caf/message.hpp>

#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <vector>

namespace mp::detail {

/// A caf::error as it travels.
struct caf_trouble {
  std::uint8_t code = 0;
  std::uint64_t category = 0;
  std::string text{};
};

/// A message as our codec sees it: which types, which words write them.
///
/// Threads:  a value.   Processes: process-bound.
class caf_letter {
public:
  /// Throws: error{unencodable}: an element is not spoken.
  caf_letter(const caf::message& m, const caf_words& words);
  letter view() const noexcept {
    return {types_, [](const void* from, encoder& e) { static_cast<const caf_letter*>(from)->write(e); }, this};
  }
  std::span<const std::uint64_t> types() const noexcept { return types_; }
  void write(encoder& e) const;

private:
  const caf::message message_;
  std::vector<std::uint64_t> types_;
  std::vector<const caf_word*> words_;
};

/// The values of these types as a message. Throws: error{undecodable}: a type is not spoken, or bytes are garbled.
caf::message read_caf_message(std::span<const std::uint64_t> types, decoder& from, const caf_words& words);

/// How a process ended as a reason; none for code 0.
caf::error reason_of(const mp::exit_status& status);
caf::error caf_error_of(std::exception_ptr problem) noexcept;
caf::error caf_error_of(const caf_trouble& trouble);
caf_trouble trouble_of(const caf::error& e);

}  // namespace mp::detail
