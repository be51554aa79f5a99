// Messages of bytes over two pipes.
// Must never interpret a byte: what is sent here has no type.
// Decision 0006; Python's tests name the behaviours (tests/README).

#include "mp/connection.hpp"

#include "mp/wait.hpp"

#include <fcntl.h>
#include <cerrno>
#include <string>

namespace mp {

using detail::channel_options;
using detail::incoming;
using detail::op_status;
using detail::outgoing;
using detail::role;

namespace {

constexpr std::uint64_t bytes_hash = detail::hash_text("mp::connection bytes");
constexpr time_point never = time_point::max();

// Descriptors of the caller in the clothes of owners, for as long as one put takes.
class borrowed_fds {
public:
  explicit borrowed_fds(std::span<const int> fds) {
    owners_.reserve(fds.size());
    for (const int fd : fds) {
      if (::fcntl(fd, F_GETFD) < 0)
        detail::throw_system_error(errc::invalid_argument,
                                   "connection: send_bytes: " + std::to_string(fd) + " is no open descriptor", errno);
      owners_.emplace_back(fd);
    }
  }
  borrowed_fds(const borrowed_fds&) = delete;
  borrowed_fds& operator=(const borrowed_fds&) = delete;
  ~borrowed_fds() {
    for (unique_fd& fd : owners_) static_cast<void>(fd.release());
  }
  std::span<const unique_fd> get() const noexcept { return owners_; }

private:
  std::vector<unique_fd> owners_;
};

template <class Bytes>
std::vector<std::byte> copy(const Bytes& bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

buffer_too_short::buffer_too_short(std::size_t room, std::vector<std::byte> message)
    : error(errc::too_large, "connection: recv_bytes_into: the message has " + std::to_string(message.size()) +
                                 " bytes, the buffer has room for " + std::to_string(room) +
                                 ": take the message out of this error, or give a larger buffer"),
      message_(std::make_shared<const std::vector<std::byte>>(std::move(message))) {}

std::pair<connection, connection> connection::pair(const pipe_options& options) {
  const channel_options o = detail::to_channel_options(options, noun, bytes_hash);
  const auto there = detail::make_channel(o);
  const auto back = detail::make_channel(o);
  return {connection(detail::handle(there, role::sender), detail::handle(back, role::receiver)),
          connection(detail::handle(back, role::sender), detail::handle(there, role::receiver))};
}

bool connection::send(std::span<const std::byte> bytes, std::span<const int> fds, time_point until, const char* verb) {
  detail::channel& c = out_.open(noun, verb);
  const borrowed_fds owners(fds);
  outgoing out;
  out.size = bytes.size();
  out.bytes = bytes;
  out.fds = owners.get();
  op_status status = c.put(role::sender, out, time_point::min());
  if (status == op_status::timed_out && until != time_point::min()) {
    detail::check_may_wait("connection::send_bytes");
    status = c.put(role::sender, out, until);
  }
  if (status != op_status::ok && status != op_status::timed_out) detail::throw_end(status, noun, verb);
  return status == op_status::ok;
}

bool connection::receive(detail::deliver fn, void* context, time_point until, const char* verb) {
  detail::channel& c = in_.open(noun, verb);
  std::size_t taken = 0;
  op_status status = c.get(role::receiver, 1, fn, context, time_point::min(), taken);
  if (status == op_status::timed_out && until != time_point::min()) {
    detail::check_may_wait("connection::recv_bytes");
    status = c.get(role::receiver, 1, fn, context, until, taken);
  }
  if (status != op_status::ok && status != op_status::timed_out) detail::throw_end(status, noun, verb);
  return status == op_status::ok;
}

void connection::send_bytes(std::span<const std::byte> bytes, std::span<const int> fds) {
  static_cast<void>(send(bytes, fds, never, "send_bytes"));
}

void connection::send_bytes(std::string_view text) {
  static_cast<void>(send(std::as_bytes(std::span(text)), {}, never, "send_bytes"));
}

bool connection::send_bytes_for(std::span<const std::byte> bytes, duration limit) {
  return send(bytes, {}, deadline_after(std::chrono::steady_clock::now(), limit), "send_bytes_for");
}

namespace {

void store_bytes(void* context, incoming&& item) {
  static_cast<std::optional<std::vector<std::byte>>*>(context)->emplace(copy(item.bytes));
}

}  // namespace

std::vector<std::byte> connection::recv_bytes() {
  std::optional<std::vector<std::byte>> message;
  receive(&store_bytes, &message, never, "recv_bytes");
  return std::move(*message);
}

std::optional<std::vector<std::byte>> connection::try_recv_bytes() {
  std::optional<std::vector<std::byte>> message;
  receive(&store_bytes, &message, time_point::min(), "try_recv_bytes");
  return message;
}

std::optional<std::vector<std::byte>> connection::recv_bytes_for(duration limit) {
  std::optional<std::vector<std::byte>> message;
  receive(&store_bytes, &message, deadline_after(std::chrono::steady_clock::now(), limit), "recv_bytes_for");
  return message;
}

std::size_t connection::recv_bytes_into(std::span<std::byte> room) {
  struct target {
    std::span<std::byte> room;
    std::size_t size = 0;
  } into{room};
  receive(
      [](void* context, incoming&& item) {
        auto& t = *static_cast<target*>(context);
        t.size = item.bytes.size();
        if (t.size > t.room.size()) throw buffer_too_short(t.room.size(), copy(item.bytes));
        if (t.size != 0) std::memcpy(t.room.data(), item.bytes.data(), t.size);
      },
      &into, never, "recv_bytes_into");
  return into.size;
}

bytes_and_fds connection::recv_bytes_and_fds() {
  bytes_and_fds message;
  receive(
      [](void* context, incoming&& item) {
        *static_cast<bytes_and_fds*>(context) = {copy(item.bytes), std::move(item.fds)};
      },
      &message, never, "recv_bytes_and_fds");
  return message;
}

bool connection::poll() const { return in_.open(noun, "poll").ready(role::receiver, detail::side::get); }

bool connection::poll_for(duration limit) const { return poll() || !wait_for(limit, *this).empty(); }

namespace detail {

void handle_codec<connection>::encode(encoder& e, const connection& c) {
  c.out_.export_to(e, "connection");
  c.in_.export_to(e, "connection");
}

connection handle_codec<connection>::decode(decoder& d) {
  const auto is = [](role wanted) { return [wanted](role r, const channel_options&) { return r == wanted; }; };
  handle out = handle::import_from(d, bytes_hash, "connection", is(role::sender));
  handle in = handle::import_from(d, bytes_hash, "connection", is(role::receiver));
  return connection(std::move(out), std::move(in));
}

}  // namespace detail
}  // namespace mp
