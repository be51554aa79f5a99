#pragma once
/// @file
/// Where an encoded message is written: into the room there is, and beyond it only counted.
/// Not for users: `mp::codec` and cereal's functions are their way in.
///
/// Model:    std::span with a write position; a sender asks once, and again only if the room was too small.
/// Shape:    doc/wire-format.md. Little-endian, no alignment, no padding.
/// Threads:  thread-compatible.      Processes: process-bound.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/copy.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/unique_fd.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace mp::detail {

static_assert(std::endian::native == std::endian::little, "mp: bytes travel in memory order, which is little-endian");

/// No message is longer. 4 GiB: above this a task should pass a file or shared memory instead.
inline constexpr std::uint64_t max_message_bytes = std::uint64_t{1} << 32;
/// No value nests deeper (containers and owning pointers count, list nodes do not): the stack stays bounded.
inline constexpr int max_nesting = 64;

/// What a cereal adapter keeps during one message (class versions ..); see codec_cereal.hpp.
struct adapter_state {
  virtual ~adapter_state() = default;
};

struct encoder_pointers;
struct encoder_pointers_deleter {
  void operator()(encoder_pointers*) const noexcept;
};

/// Writes one message. While it fits it is written; from the first piece that does not fit on it is only counted, so
/// that `size()` tells how much room a second pass needs.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class encoder {
public:
  explicit encoder(std::span<std::byte> room) noexcept
      : begin_(room.data()),
        at_(room.data()),
        end_(room.data() + std::min<std::uint64_t>(room.size(), max_message_bytes)) {}
  encoder(encoder&&) noexcept = default;
  encoder& operator=(encoder&&) noexcept = default;
  ~encoder() = default;

  /// For a message that was counted before and now has its room: descriptors are not attached again.
  static encoder second_pass(std::span<std::byte> room, std::vector<unique_fd>&& attachments) {
    encoder e(room);
    e.attachments_ = std::move(attachments);
    e.attaching_ = false;
    return e;
  }

  /// Bytes of the message so far; more than the room if `overflowed()`.
  std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_) + beyond_; }
  bool overflowed() const noexcept { return beyond_ != 0; }

  /// Writes `n` bytes as they are. Throws: error{too_large} once the message exceeds 4 GiB.
  void raw(const void* bytes, std::size_t n) {
    if (n <= static_cast<std::size_t>(end_ - at_)) [[likely]] {
      copy_bytes(at_, bytes, n);
      at_ += n;
    } else {
      count_beyond(n);
    }
  }
  /// The same for few bytes, whose number the compiler knows.
  template <std::size_t N>
  void few(const void* bytes) {
    if (N <= static_cast<std::size_t>(end_ - at_)) [[likely]] {
      std::memcpy(at_, bytes, N);
      at_ += N;
    } else {
      count_beyond(N);
    }
  }
  /// Writes the bytes of a number, flag or length. Throws: as raw.
  template <class Number>
  void number(Number value) {
    few<sizeof value>(&value);
  }

  /// Sends a descriptor along; the reader takes them in the same order. In the second pass it is there already: ask
  /// `attaching()` before duplicating anything.
  void attach(unique_fd fd) {
    if (attaching_) attachments_.push_back(std::move(fd));
  }
  bool attaching() const noexcept { return attaching_; }
  std::vector<unique_fd>& attachments() noexcept { return attachments_; }

  /// One more container or owning pointer around what is written next. Throws: error{unencodable} above 64.
  void enter() {
    if (++depth_ > max_nesting) throw_too_deep();
  }
  void leave() noexcept { --depth_; }

  /// What follows is another message, read by itself: it refers to nothing that was written before.
  void begin_message() noexcept {
    depth_ = 0;
    if (pointers_) [[unlikely]]
      pointers_.reset();
    if (adapter_) [[unlikely]]
      adapter_.reset();
  }

  /// The number of the object that a shared_ptr owns, counted from 1; `first`: it was not met before in this message.
  /// Throws: error{unencodable} if the object is still being written, a cycle.
  std::uint64_t shared_object(const void* object, const void* type, bool& first);
  /// The object numbered `id` is written completely.
  void shared_object_written(std::uint64_t id) noexcept;

  std::unique_ptr<adapter_state>& adapter() noexcept { return adapter_; }

private:
  void count_beyond(std::size_t n);
  [[noreturn]] static void throw_too_deep();

  std::byte* begin_;
  std::byte* at_;   // where the next byte goes
  std::byte* end_;  // of the room; at_ once overflowed, so that nothing is written behind a gap
  std::size_t beyond_ = 0;
  int depth_ = 0;
  bool attaching_ = true;
  std::vector<unique_fd> attachments_;
  std::unique_ptr<encoder_pointers, encoder_pointers_deleter> pointers_;
  std::unique_ptr<adapter_state> adapter_;
};

/// A second owner of the same open file, close-on-exec. Throws: error{out_of_resources}, error{invalid_argument}.
unique_fd duplicate(const unique_fd&);

}  // namespace mp::detail
