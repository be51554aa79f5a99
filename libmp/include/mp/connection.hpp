#pragma once
/// @file
/// Bytes with message boundaries, both ways, and descriptors along with them.
///
/// Model:    Python's multiprocessing.connection.Connection; different: messages have no type at all, a peer that died
///           is told from one that left.
/// Shape:    two pipes of bytes.
/// Copies:   one on send, one on receive.
/// Threads:  one reading and one writing thread.   Processes: transferable.
/// Life:     what was sent can be received, also when its sender is gone.
/// Death:    every whole message can be received; then closed (the peer left) or peer_died (it vanished).
/// Source:   doc/decisions/0006-channels.md.

#include "mp/channel_options.hpp"
#include "mp/detail/get_face.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/put_face.hpp"
#include "mp/duration.hpp"
#include "mp/error.hpp"
#include "mp/unique_fd.hpp"

#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace mp {

class waitable;

/// One message of a connection with the descriptors that came along.
///
/// Threads:  a value.   Processes: transferable.
struct bytes_and_fds {
  std::vector<std::byte> bytes{};
  std::vector<unique_fd> fds{};
};

/// recv_bytes_into had too little room; the whole message is in here. Its code is too_large.
///
/// Threads:  a value.   Processes: copied.
class buffer_too_short : public error {
public:
  buffer_too_short(std::size_t room, std::vector<std::byte> message);
  /// Valid as long as a copy of this error lives.
  std::span<const std::byte> message() const noexcept { return *message_; }

private:
  std::shared_ptr<const std::vector<std::byte>> message_;
};

/// One end of a connection.
///
/// Threads:  one reading and one writing thread.   Processes: transferable.
class connection {
public:
  /// A closed end.
  connection() noexcept = default;
  connection(connection&&) noexcept = default;
  connection& operator=(connection&&) noexcept = default;
  /// Two ends that talk to each other. Throws: error{invalid_argument}, error{out_of_resources}.
  static std::pair<connection, connection> pair(const pipe_options& = {});

  /// Sends one message; `fds` are duplicated, ours stay open. An empty message is a message.
  ///
  /// Waits:    until there is room.
  /// Throws:   error{closed}, error{peer_died}, error{too_large}; error{invalid_argument}: not a descriptor.
  void send_bytes(std::span<const std::byte>, std::span<const int> fds = {});
  /// Waits:    as above.
  /// Throws:   as above.
  void send_bytes(std::string_view);
  /// False: no room within `limit`.
  ///
  /// Waits:    at most `limit`.
  /// Throws:   as send_bytes.
  [[nodiscard]] bool send_bytes_for(std::span<const std::byte>, duration limit);

  /// Receives one message; descriptors that came along are closed.
  ///
  /// Waits:    until there is one.
  /// Throws:   error{closed}, error{peer_died}; error{would_deadlock} on the I/O thread.
  std::vector<std::byte> recv_bytes();
  /// A message, if there is one now. Throws: as recv_bytes.
  std::optional<std::vector<std::byte>> try_recv_bytes();
  /// Waits:    at most `limit`.
  /// Throws:   as recv_bytes.
  std::optional<std::vector<std::byte>> recv_bytes_for(duration limit);
  /// Receives one message into `room`; its length.
  ///
  /// Waits:    as recv_bytes.
  /// Throws:   as recv_bytes; buffer_too_short, which carries the message.
  std::size_t recv_bytes_into(std::span<std::byte> room);
  /// Receives one message with its descriptors.
  ///
  /// Waits:    as recv_bytes.
  /// Throws:   as recv_bytes.
  bytes_and_fds recv_bytes_and_fds();

  /// Is a message, or the end, there? Consumes nothing. Throws: error{closed} if this end is closed.
  bool poll() const;
  /// Waits:    at most `limit`.
  /// Throws:   as poll; error{would_deadlock} on the I/O thread.
  bool poll_for(duration limit) const;

  /// Completes with (error_code, bytes). Throws: as queue::async_get.
  template <class Token>
  auto async_recv_bytes(Token&& token) {
    static_cast<void>(in_.open(noun, "async_recv_bytes"));
    return asio::async_initiate<Token, void(error_code, std::vector<std::byte>)>(
        [](auto&& handler, detail::handle from) {
          detail::launch<detail::get_operation<std::vector<std::byte>, &read>,
                         void(error_code, std::vector<std::byte>)>(std::forward<decltype(handler)>(handler),
                                                                   std::move(from));
        },
        token, in_);
  }
  /// Completes with (error_code). Throws: as queue::async_put.
  template <class Token>
  auto async_send_bytes(std::vector<std::byte> bytes, Token&& token) {
    static_cast<void>(out_.open(noun, "async_send_bytes"));
    return asio::async_initiate<Token, void(error_code)>(
        [](auto&& handler, detail::handle to, std::vector<std::byte> what) {
          detail::launch<detail::put_operation<std::vector<std::byte>, plain_bytes>, void(error_code)>(
              std::forward<decltype(handler)>(handler), std::move(to), std::move(what));
        },
        token, out_, std::move(bytes));
  }

  bool is_closed() const noexcept { return !in_.is_open(); }
  /// Lets this end go: the peer receives what is there, then closed. Twice is fine.
  void close() noexcept {
    in_.close();
    out_.close();
  }

private:
  friend waitable;
  friend detail::handle_codec<connection>;

  static constexpr const char* noun = "connection";
  connection(detail::handle out, detail::handle in) noexcept : out_(std::move(out)), in_(std::move(in)) {}

  static std::vector<std::byte> read(detail::incoming&& item) { return {item.bytes.begin(), item.bytes.end()}; }
  struct plain_bytes {
    template <class F>
    static detail::op_status with(const std::vector<std::byte>& bytes, F&& f) {
      detail::outgoing out;
      out.size = bytes.size();
      out.bytes = bytes;
      return std::forward<F>(f)(out);
    }
  };
  bool send(std::span<const std::byte>, std::span<const int> fds, time_point until, const char* verb);
  bool receive(detail::deliver, void* context, time_point until, const char* verb);

  detail::handle out_, in_;
};

namespace detail {

template <>
struct handle_codec<connection> {
  static constexpr std::uint64_t hash = hash_text("mp::connection");
  static void encode(encoder&, const connection&);
  static connection decode(decoder&);
};

}  // namespace detail
}  // namespace mp
