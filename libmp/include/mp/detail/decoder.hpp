#pragma once
/// @file
/// Reads a message from bytes that may be anything: nothing is believed before it was compared with what is there.
/// Not for users: `mp::codec` and cereal's functions are their way in.
///
/// Shape:    doc/wire-format.md.
/// Threads:  thread-compatible.      Processes: process-bound.
/// Life:     borrows the bytes; owns the descriptors that came along until they are taken, and closes the rest.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/encoder.hpp"
#include "mp/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace mp::detail {

struct decoder_pointers;
struct decoder_pointers_deleter {
  void operator()(decoder_pointers*) const noexcept;
};

/// Reads one message. Every refusal is error{undecodable}.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class decoder {
public:
  explicit decoder(std::span<const std::byte> bytes, std::vector<unique_fd>&& attachments = {}) noexcept
      : at_(bytes.data()),
        end_(bytes.data() + bytes.size()),
        budget_(bytes.size() + bytes.size() + 64 * 1024),
        attachments_(std::move(attachments)) {}
  decoder(decoder&&) noexcept = default;
  decoder& operator=(decoder&&) noexcept = default;
  ~decoder() = default;

  /// Reads `n` bytes as they are. Throws: error{undecodable} if fewer are left.
  void raw(void* into, std::size_t n) {
    const void* from = take(n);
    if (n != 0) std::memcpy(into, from, n);
  }
  /// The next `n` bytes, where they lie. Throws: error{undecodable} if fewer are left.
  const std::byte* take(std::size_t n) {
    if (n > left()) [[unlikely]]
      throw_truncated(n);
    return std::exchange(at_, at_ + n);
  }
  /// Reads the bytes of a number for which every bit pattern is a value. Throws: as raw.
  template <class Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  /// Reads a flag: 0 or 1. Throws: error{undecodable} for anything else.
  bool flag() {
    const auto byte = number<std::uint8_t>();
    if (byte > 1) [[unlikely]]
      throw_invalid("a flag that is neither 0 nor 1");
    return byte != 0;
  }
  /// Reads a count of things that take at least `bytes_each` bytes. Throws: error{undecodable} if they cannot be there.
  std::size_t count(std::size_t bytes_each = 1) {
    const auto n = number<std::uint64_t>();
    if (n > left() / bytes_each) [[unlikely]]
      throw_count(n);
    return static_cast<std::size_t>(n);
  }

  /// The next descriptor, in the order of the attach calls. Throws: error{undecodable} if there is none.
  unique_fd take_attachment();
  /// All that are left.
  std::vector<unique_fd> take_attachments() {
    std::vector<unique_fd> rest;
    for (; next_attachment_ < attachments_.size(); ++next_attachment_)
      rest.push_back(std::move(attachments_[next_attachment_]));
    return rest;
  }
  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  /// Throws: error{undecodable} if bytes or descriptors are left.
  void finish() const {
    if (at_ != end_ || next_attachment_ != attachments_.size()) [[unlikely]]
      throw_left_over();
  }

  /// One more container or owning pointer around what is read next. Throws: error{undecodable} above 64.
  void enter() {
    if (++depth_ > max_nesting) [[unlikely]]
      throw_invalid("values nested deeper than 64");
  }
  void leave() noexcept { --depth_; }

  /// How many of `n` promised elements may be reserved before they were read. All reservations of one message together
  /// stay under twice its length and 64 KiB; a container grows beyond that only with what was really there.
  std::size_t reserve(std::size_t n, std::size_t bytes_each) noexcept {
    const std::size_t granted = std::min(n, budget_ / bytes_each);
    budget_ -= granted * bytes_each;
    return granted;
  }
  /// The elements are there: the reservation is no advance any more.
  void reserved_are_read(std::size_t granted, std::size_t bytes_each) noexcept { budget_ += granted * bytes_each; }

  /// What follows is another message, written by another encoder: it knows nothing of what was read before.
  void begin_message() noexcept {
    depth_ = 0;
    if (pointers_) [[unlikely]]
      pointers_.reset();
    if (adapter_) [[unlikely]]
      adapter_.reset();
  }

  /// The object numbered `id` of an earlier shared_ptr of the same type. Throws: error{undecodable}.
  std::shared_ptr<void> shared_object(std::uint64_t id, const void* type) const;
  /// The number that the next object of a shared_ptr must have; announces it. Throws: error{undecodable}.
  void announce_shared_object(std::uint64_t id);
  void shared_object_read(std::uint64_t id, std::shared_ptr<void> object, const void* type);

  std::unique_ptr<adapter_state>& adapter() noexcept { return adapter_; }

  [[noreturn]] static void throw_invalid(const char* what);

private:
  [[noreturn]] void throw_truncated(std::size_t wanted) const;
  [[noreturn]] void throw_count(std::uint64_t promised) const;
  [[noreturn]] void throw_left_over() const;

  const std::byte* at_;
  const std::byte* end_;
  std::size_t budget_;  // bytes that may still be reserved ahead of what was read
  int depth_ = 0;
  std::vector<unique_fd> attachments_;
  std::size_t next_attachment_ = 0;
  std::unique_ptr<decoder_pointers, decoder_pointers_deleter> pointers_;
  std::unique_ptr<adapter_state> adapter_;
};

}  // namespace mp::detail
