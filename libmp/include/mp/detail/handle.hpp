#pragma once
/// @file
/// A counted role in a channel: what is inside every queue, sender, receiver and connection.
/// Not for users.
///
/// Model:    std::shared_ptr, whose count the other processes can see.
/// Threads:  as std::shared_ptr.     Processes: process-bound; export_to() makes one that travels.
/// Source:   doc/decisions/0006-channels.md.

#include "mp/detail/channel.hpp"

#include <memory>
#include <utility>

namespace mp::detail {

/// Says why a call on a handle that has no channel is refused: error{closed}.
[[noreturn]] void throw_closed_handle(const char* noun, const char* verb);
/// ... and why a whole queue after close_sender() does not put: error{closed}.
[[noreturn]] void throw_puts_no_more(const char* noun, const char* verb);
/// The end of a channel as an exception: closed or peer_died, naming the call.
[[noreturn]] void throw_end(op_status, const char* noun, const char* verb);
/// A handle of this role was expected in a message; error{type_mismatch}.
[[noreturn]] void throw_wrong_handle(const char* expected);

/// Owns one role of one channel, or nothing (closed).
///
/// Threads:  thread-compatible.   Processes: process-bound.
class handle {
public:
  handle() noexcept = default;
  /// Counts one more. Throws what add_role throws.
  handle(std::shared_ptr<detail::channel> c, role r) : channel_(std::move(c)), role_(r) { channel_->add_role(r); }
  /// Takes over a role that is counted already.
  static handle adopt(imported_handle in) noexcept {
    handle h;
    h.channel_ = std::move(in.channel);
    h.role_ = in.as;
    return h;
  }
  handle(const handle& other) : channel_(other.channel_), role_(other.role_) {
    if (channel_) channel_->add_role(role_);
  }
  handle(handle&& other) noexcept : channel_(std::move(other.channel_)), role_(other.role_) {}
  handle& operator=(const handle& other) {
    handle copy(other);
    swap(copy);
    return *this;
  }
  handle& operator=(handle&& other) noexcept {
    handle gone(std::move(other));
    swap(gone);
    return *this;
  }
  ~handle() { close(); }

  void close() noexcept {
    if (const auto gone = std::move(channel_)) gone->drop_role(role_);
  }
  void swap(handle& other) noexcept {
    std::swap(channel_, other.channel_);
    std::swap(role_, other.role_);
  }

  bool is_open() const noexcept { return channel_ != nullptr; }
  role as() const noexcept { return role_; }
  const std::shared_ptr<detail::channel>& shared() const noexcept { return channel_; }

  /// The channel. Throws error{closed} if there is none.
  detail::channel& open(const char* noun, const char* verb) const {
    if (!channel_) [[unlikely]]
      throw_closed_handle(noun, verb);
    return *channel_;
  }
  /// The same, for a put.
  detail::channel& open_to_put(const char* noun, const char* verb) const {
    detail::channel& c = open(noun, verb);
    if (!may_put(role_)) [[unlikely]]
      throw_puts_no_more(noun, verb);
    return c;
  }
  /// Another role of the same channel.
  handle with(role r, const char* noun, const char* verb) const {
    static_cast<void>(open(noun, verb));
    return handle(channel_, r);
  }

  /// Writes a handle that travels into a message. Throws error{closed}, invalid_argument (local), out_of_resources.
  void export_to(encoder& e, const char* noun) const { open(noun, "send it").export_handle(e, role_); }
  /// Reads one that must have a role that `fits`. Throws error{type_mismatch}, error{bad_frame}.
  template <class Fits>
  static handle import_from(decoder& d, std::uint64_t type_hash, const char* noun, Fits fits) {
    handle h = adopt(import_handle(d, type_hash));
    if (!fits(h.as(), h.channel_->options())) throw_wrong_handle(noun);
    return h;
  }

private:
  std::shared_ptr<detail::channel> channel_;
  role role_ = role::whole;
};

}  // namespace mp::detail
