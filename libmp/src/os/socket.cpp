// Descriptors over Unix sockets. Must never leave a received descriptor without an owner, whatever the message says.

#include "os/socket.hpp"

#include "mp/error.hpp"

#include <array>
#include <cerrno>
#include <cstring>

namespace mp::os {

socket_pair make_socket_pair(int type, int flags) {
  int raw[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC | flags, 0, raw) != 0)
    detail::throw_system_error(errc::out_of_resources, "cannot make a socket pair", errno);
  return {unique_fd(raw[0]), unique_fd(raw[1])};
}

ssize_t send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds, int flags) noexcept {
  if (fds.size() > max_fds_per_message) return -EINVAL;
  iovec vec{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(max_fds_per_message * sizeof(int))];
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    std::memset(control, 0, message.msg_controllen);
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, flags | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

received recv_with_fds(int socket, std::span<std::byte> room, std::vector<unique_fd>& fds, int flags) {
  // Reserved before the call: nothing may throw between the kernel's hand-over and the owners.
  fds.reserve(fds.size() + max_fds_per_message);
  iovec vec{room.data(), room.size()};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(max_fds_per_message * sizeof(int))];
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return {-errno, false};
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return {got, (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0};
}

}  // namespace mp::os
