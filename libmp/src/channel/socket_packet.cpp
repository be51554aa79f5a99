// Packing, sending, receiving one record.
// Must own every descriptor before it looks at a byte, and must not believe a length: memory is only taken for bytes
// that are there.
// FAULTS rules 5, 19, 20.

#include "channel/socket_packet.hpp"

#include "mp/error.hpp"
#include "os/socket.hpp"
#include "wire/frame.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string>

namespace mp::sock {
namespace {

constexpr std::size_t head_bytes = wire::frame_header_bytes + sizeof(note) + 1;  // and: does the body lie outside?

[[noreturn]] void refuse(const char* why) {
  detail::throw_error(errc::bad_frame, std::string("socket channel: a record that no sender of ours writes: ") + why);
}

unique_fd write_outside(std::span<const std::byte> body) {
  unique_fd fd(::memfd_create("mp-body", MFD_CLOEXEC));
  if (!fd) detail::throw_system_error(errc::out_of_resources, "socket channel: no memory for a long message", errno);
  while (!body.empty()) {
    const ssize_t n = ::write(fd.get(), body.data(), body.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      detail::throw_system_error(errc::out_of_resources, "socket channel: no memory for a long message", errno);
    body = body.subspan(static_cast<std::size_t>(n));
  }
  return fd;
}

void read_outside(const unique_fd& fd, std::span<std::byte> into) {
  std::size_t at = 0;
  while (at != into.size()) {
    const ssize_t n = ::pread(fd.get(), into.data() + at, into.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) refuse("its body is shorter than it says");
    at += static_cast<std::size_t>(n);
  }
}

// Is so much really there, and not only promised by a file with holes?
bool holds(const unique_fd& fd, std::uint64_t bytes) {
  struct stat st {};
  return ::fstat(fd.get(), &st) == 0 && S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) == bytes &&
         static_cast<std::uint64_t>(st.st_blocks) * 512 >= bytes;
}

}  // namespace

parcel pack(const note& head, std::span<const std::byte> body, std::span<const unique_fd> fds) {
  if (fds.size() + 1 > os::max_fds_per_message)
    detail::throw_error(errc::too_large,
                        "a message with " + std::to_string(fds.size()) + " descriptors; 252 can travel at once");
  parcel p{head, body, fds, 0, nullptr, {}};
  if (body.size() > inline_bytes) p.outside = write_outside(body);
  return p;
}

parcel pack(const note& head, const detail::outgoing& out) {
  if (!out.write) return pack(head, out.bytes, out.fds);
  auto room = std::make_unique_for_overwrite<std::byte[]>(out.size);
  out.write(out.context, {room.get(), out.size});
  parcel p = pack(head, {room.get(), out.size}, out.fds);
  p.owned = std::move(room);
  if (p.outside) p.owned.reset();
  return p;
}

int send(int socket, const parcel& p) {
  std::array<int, os::max_fds_per_message> fds;
  std::size_t count = 0;
  for (const unique_fd& fd : p.fds) fds[count++] = fd.get();
  if (p.outside) fds[count++] = p.outside.get();

  wire::frame_header header;
  header.kind = wire::frame_kind::message;
  header.descriptors = static_cast<std::uint16_t>(count);
  header.length = p.body.size();
  header.correlation = p.number;
  const auto encoded = wire::encode_header(header);
  thread_local std::array<std::byte, head_bytes + inline_bytes> record;
  std::memcpy(record.data(), encoded.data(), encoded.size());
  std::memcpy(record.data() + encoded.size(), &p.head, sizeof p.head);
  record[head_bytes - 1] = std::byte{p.outside ? std::uint8_t{1} : std::uint8_t{0}};
  std::size_t size = head_bytes;
  if (!p.outside && !p.body.empty()) {
    std::memcpy(record.data() + size, p.body.data(), p.body.size());
    size += p.body.size();
  }
  const ssize_t n = os::send_with_fds(socket, {record.data(), size}, {fds.data(), count}, MSG_DONTWAIT);
  if (n >= 0) return 0;
  switch (-n) {
    case EAGAIN:
    case ENOBUFS: return EAGAIN;
    case EPIPE:
    case ENOTCONN:
    case ECONNRESET: return EPIPE;
    case EBADF:
      detail::throw_error(errc::invalid_argument,
                          "socket channel: the message holds a number that is no open descriptor");
    default: detail::throw_system_error(errc::out_of_resources, "socket channel: cannot send", static_cast<int>(-n));
  }
}

receipt receive(int socket, received_packet& into) {
  into = {};
  auto storage = std::make_unique_for_overwrite<std::byte[]>(head_bytes + inline_bytes);
  os::received got;
  do {
    into.fds.clear();
    got = os::recv_with_fds(socket, {storage.get(), head_bytes + inline_bytes}, into.fds, MSG_DONTWAIT);
    // ECONNRESET: the peer left unread records behind. What it sent before is still there (MEASURED E20).
  } while (got.bytes == -ECONNRESET);
  if (got.bytes == -EAGAIN) return receipt::nothing;
  if (got.bytes == 0) return receipt::end;
  if (got.bytes < 0)
    detail::throw_system_error(errc::out_of_resources, "socket channel: cannot receive", static_cast<int>(-got.bytes));

  const auto size = static_cast<std::size_t>(got.bytes);
  if (got.truncated) refuse("cut off, or descriptors lost (is the table of descriptors full?)");
  if (size < head_bytes) refuse("shorter than its header");
  const auto header = wire::decode_header({storage.get(), size});
  if (!header) refuse(header.error().message().c_str());
  if (header->descriptors != into.fds.size()) refuse("another number of descriptors than it says");
  std::memcpy(&into.head, storage.get() + wire::frame_header_bytes, sizeof into.head);
  into.number = header->correlation;
  if (into.head.what < verb::item || into.head.what > verb::last || into.head.role > 3 || into.head.status > 3)
    refuse("an unknown verb, role or status");
  if (storage[head_bytes - 1] == std::byte{0}) {
    if (header->length != size - head_bytes) refuse("another length than it says");
    into.storage = std::move(storage);
    into.body = {into.storage.get() + head_bytes, size - head_bytes};
    return receipt::packet;
  }
  if (size != head_bytes || into.fds.empty()) refuse("a body outside that did not come along");
  const unique_fd body = std::move(into.fds.back());
  into.fds.pop_back();
  if (!holds(body, header->length)) refuse("a body outside of another length than it says");
  into.storage = std::make_unique_for_overwrite<std::byte[]>(header->length);
  read_outside(body, {into.storage.get(), static_cast<std::size_t>(header->length)});
  into.body = {into.storage.get(), static_cast<std::size_t>(header->length)};
  return receipt::packet;
}

bool keeps_records(const unique_fd& fd) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

bool wait_for(int fd, short events, time_point until) {
  for (;;) {
    pollfd p{fd, events, 0};
    timespec limit{};
    if (until != time_point::max()) {
      const auto left = until == time_point::min() ? std::chrono::nanoseconds(0)
                                                   : std::chrono::nanoseconds(until - std::chrono::steady_clock::now());
      if (left.count() > 0)
        limit = {static_cast<time_t>(left.count() / 1'000'000'000), static_cast<long>(left.count() % 1'000'000'000)};
    }
    const int n = ::ppoll(&p, 1, until == time_point::max() ? nullptr : &limit, nullptr);
    if (n > 0) return true;
    if (n == 0) return false;
    if (errno != EINTR) detail::throw_system_error(errc::out_of_resources, "socket channel: poll failed", errno);
  }
}

bool is(int fd, short events) { return wait_for(fd, events, time_point::min()); }

}  // namespace mp::sock
