#pragma once
/// @file
/// Records on a control socket between a parent, its child and its fork server: a kind, bytes, descriptors.
///
/// Shape:    one SEQPACKET record = 16-byte header + body; a body above 32 KiB travels in a sealed memfd that is the
///           last descriptor; more than 200 descriptors travel in records before.
/// Threads:  sending is thread-safe, receiving is one thread at a time.   Processes: both ends.
/// Death:    who died is silence on its own; what it sent before can still be read, then `ended`.
/// Source:   MEASURED E18, E20; doc/process-model.md.

#include "mp/duration.hpp"
#include "mp/unique_fd.hpp"
#include "os/memfd.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mp::os {

/// Rises with every change of a record. Compared in the hello.
inline constexpr std::uint32_t control_protocol = 2;

enum class control_kind : std::uint32_t {
  more_fds = 1,    ///< descriptors of the record that follows
  hello,           ///< who I am: protocol, build marks
  started,         ///< from the fork server: pid, with the pidfd
  refused,         ///< it did not happen: why
  task,            ///< what to run, and how
  ready,           ///< the task's set-up is done, its function runs now
  failure,         ///< the exception that left the function
  crash,           ///< written by the crash handler
  status,          ///< from the fork server: how the child ended
  stop_request,    ///< trips the child's stop token
  wake,            ///< a task comes soon
  go,              ///< the task may run
  first_free = 64  ///< and above: registered by upper floors
};

struct control_header {
  std::uint32_t kind = 0;
  std::uint32_t fds = 0;  ///< in all records of this message
  std::uint64_t body = 0;
};
static_assert(sizeof(control_header) == 16);

/// One received message.
class control_message {
public:
  control_kind kind{};
  std::vector<unique_fd> fds;
  std::span<const std::byte> body() const noexcept {
    return large_ ? std::span<const std::byte>(large_.data(), size_) : std::span<const std::byte>(small_);
  }

private:
  friend struct control_reader;
  std::vector<std::byte> small_;
  mapping large_;
  std::size_t size_ = 0;
};

enum class control_status { ok, nothing, ended, broken };

/// Sends one message; `fds` are duplicated. Waits for room in the socket, at most until `until`. 0 or errno
/// (ETIMEDOUT; EPIPE and ECONNRESET: nobody is there). Throws error{out_of_resources} where a large body finds no
/// memory.
int send_control(int socket, control_kind kind, std::span<const std::byte> body, std::span<const int> fds,
                 time_point until);

/// The same for a small body without descriptors; never waits, never allocates. Signal-safe.
int send_control_now(int socket, control_kind kind, const void* body, std::size_t bytes, const int* fds = nullptr,
                     std::size_t fd_count = 0) noexcept;

/// Receives one message. With `wait` false it does not wait. A peer that died gives what it sent before, then `ended`.
/// `broken`: bytes that no sender of ours writes, or descriptors that were lost on the way (no room for them here).
control_status receive_control(int socket, control_message& message, bool wait);

}  // namespace mp::os
