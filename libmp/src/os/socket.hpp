#pragma once
/// @file
/// Unix sockets that carry descriptors: pairs, send, receive. Floor 2: knows nothing of what the bytes mean.
///
/// Errors:   results are byte counts, or -errno; EINTR is never seen.
/// Threads:  free functions.         Processes: descriptors are close-on-exec from birth.
/// Source:   unix(7), cmsg(3); MEASURED: a descriptor that meets a full table is lost with MSG_CTRUNC as the only sign.

#include "mp/unique_fd.hpp"

#include <sys/socket.h>
#include <sys/types.h>
#include <cstddef>
#include <span>
#include <vector>

namespace mp::os {

/// The kernel takes at most this many descriptors in one message (SCM_MAX_FD).
inline constexpr std::size_t max_fds_per_message = 253;

struct socket_pair {
  unique_fd first, second;
};

/// Throws error{out_of_resources}. `type` is SOCK_SEQPACKET or SOCK_STREAM, `flags` e.g. SOCK_NONBLOCK.
socket_pair make_socket_pair(int type = SOCK_SEQPACKET, int flags = 0);

/// Sends `bytes` and duplicates of `fds` as one message. The count sent or -errno. Never raises SIGPIPE.
ssize_t send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds, int flags = 0) noexcept;

struct received {
  ssize_t bytes = 0;  ///< the count, 0 at the end, or -errno
  bool truncated =
      false;  ///< bytes or descriptors were lost: the sender's message is not whole (MSG_TRUNC, MSG_CTRUNC)
};

/// Receives one message; its descriptors are owned by `fds` (appended) before a byte is looked at.
received recv_with_fds(int socket, std::span<std::byte> room, std::vector<unique_fd>& fds, int flags = 0);

}  // namespace mp::os
