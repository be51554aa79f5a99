// The control protocol's records. Must own every received descriptor before it looks at a byte.

#include "os/control.hpp"

#include "mp/error.hpp"
#include "os/pidfd.hpp"
#include "os/socket.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>

namespace mp::os {
namespace {

constexpr std::size_t max_inline = 32 * 1024;   // above it a body goes by memfd: a socket's buffer is 208 KiB for all
constexpr std::size_t fds_per_record = 200;     // the kernel takes 253
constexpr std::size_t max_fds = 64 * 1024;      // no honest message has more
constexpr std::uint64_t max_body = 5ULL << 30;  // a call of 4 GiB, and what surrounds it

int send_record(int socket, const control_header& header, std::span<const std::byte> body, std::span<const int> fds,
                time_point until) noexcept {
  iovec parts[2]{{const_cast<control_header*>(&header), sizeof header},
                 {const_cast<std::byte*>(body.data()), body.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE((fds_per_record + 1) * sizeof(int))];
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body.empty() ? 1 : 2;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno;
    if (until == time_point::min()) return EAGAIN;
    pollfd polled{socket, POLLOUT, 0};
    if (::poll(&polled, 1, poll_timeout(until)) == 0 && std::chrono::steady_clock::now() >= until) return ETIMEDOUT;
  }
}

unique_fd body_in_memory(std::span<const std::byte> body) {
  unique_fd memory = make_memfd("mp-message", body.size());
  for (std::size_t done = 0; done < body.size();) {
    const ssize_t n = ::pwrite(memory.get(), body.data() + done, std::min<std::size_t>(body.size() - done, 1 << 30),
                               static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      mp::detail::throw_system_error(errc::out_of_resources, "no memory for a message", n < 0 ? errno : ENOSPC);
    done += static_cast<std::size_t>(n);
  }
  return memory;
}

}  // namespace

int send_control(int socket, control_kind kind, std::span<const std::byte> body, std::span<const int> fds,
                 time_point until) {
  if (fds.size() > max_fds) return E2BIG;
  control_header header{static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(fds.size()), body.size()};
  while (fds.size() > fds_per_record) {
    control_header part{static_cast<std::uint32_t>(control_kind::more_fds), fds_per_record, 0};
    if (const int problem = send_record(socket, part, {}, fds.first(fds_per_record), until)) return problem;
    fds = fds.subspan(fds_per_record);
  }
  if (body.size() <= max_inline) return send_record(socket, header, body, fds, until);
  const unique_fd memory = body_in_memory(body);
  std::vector<int> all(fds.begin(), fds.end());
  all.push_back(memory.get());
  return send_record(socket, header, {}, all, until);
}

int send_control_now(int socket, control_kind kind, const void* body, std::size_t bytes, const int* fds,
                     std::size_t fd_count) noexcept {
  const control_header header{static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(fd_count), bytes};
  return send_record(socket, header, {static_cast<const std::byte*>(body), bytes}, {fds, fd_count}, time_point::min());
}

struct control_reader {
  static control_status receive(int socket, control_message& message, bool wait) {
    message = {};
    for (;;) {
      std::byte room[sizeof(control_header) + max_inline];
      const std::size_t before = message.fds.size();
      const received got = recv_with_fds(socket, room, message.fds, wait ? 0 : MSG_DONTWAIT);
      // A reset only says that the peer left something unread: what it sent before still comes.
      if (got.bytes == -ECONNRESET) continue;
      if (got.bytes == -EAGAIN) return control_status::nothing;
      if (got.bytes == 0) return control_status::ended;
      if (got.bytes < 0 || got.truncated || static_cast<std::size_t>(got.bytes) < sizeof(control_header))
        return control_status::broken;
      control_header header;
      std::memcpy(&header, room, sizeof header);
      const std::size_t inlined = static_cast<std::size_t>(got.bytes) - sizeof header;
      const std::size_t here = message.fds.size() - before;
      if (header.kind == static_cast<std::uint32_t>(control_kind::more_fds)) {
        if (here != header.fds || inlined != 0 || message.fds.size() > max_fds) return control_status::broken;
        wait = true;  // the rest is on its way: a sender sends them without a pause
        continue;
      }
      message.kind = static_cast<control_kind>(header.kind);
      if (header.body <= max_inline) {
        if (inlined != header.body || message.fds.size() != header.fds) return control_status::broken;
        message.small_.assign(room + sizeof header, room + got.bytes);
        return control_status::ok;
      }
      if (inlined != 0 || header.body > max_body || message.fds.size() != header.fds + std::size_t{1} ||
          header.body != static_cast<std::size_t>(header.body))
        return control_status::broken;
      const unique_fd memory = std::move(message.fds.back());
      message.fds.pop_back();
      check_memfd(memory.get(), header.body);
      message.size_ = static_cast<std::size_t>(header.body);
      message.large_ = mapping(memory.get(), 0, message.size_);
      return control_status::ok;
    }
  }
};

control_status receive_control(int socket, control_message& message, bool wait) {
  return control_reader::receive(socket, message, wait);
}

}  // namespace mp::os
