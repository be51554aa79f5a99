#pragma once
/// @file
/// Processes as descriptors: open, signal, wait, and every honest way to learn how one ended.
///
/// Shape:    a process is a pidfd; numbers are for printing. A status is never guessed: a source either knows or is
///           silent.
/// Threads:  free functions.         Processes: any.
/// Source:   pidfd_open(2), waitid(2); MEASURED E5; doc/decisions/0001-start-methods.md.

#include "mp/duration.hpp"
#include "mp/exit_status.hpp"
#include "mp/unique_fd.hpp"

#include <sys/resource.h>
#include <sys/types.h>
#include <cstdint>
#include <optional>

namespace mp::os {

/// Empty if there is no such process (errno says why).
unique_fd open_pidfd(pid_t pid) noexcept;

/// Sends a signal through the pidfd: never to a stranger. 0 or errno (ESRCH: it has ended and was reaped). Where a
/// filter refuses the call, it goes to the number which the kernel says is behind the pidfd at that moment.
int send_signal(int pidfd, int signal) noexcept;

/// Has the process ended? Never waits.
bool has_ended(int pidfd) noexcept;
/// Waits until it has ended, at most until `until`. False: time is up.
bool wait_ended(int pidfd, time_point until) noexcept;

/// What waitid or a report says, as an exit_status. `code` is CLD_EXITED, CLD_KILLED or CLD_DUMPED.
mp::exit_status to_exit_status(int code, int status) noexcept;

struct ended {
  mp::exit_status status;
  rusage usage{};
};

/// Our own wait: only a parent gets an answer, once; it reaps. nullopt: not ended, not our child, or reaped by others.
std::optional<ended> wait_own(int pidfd) noexcept;
/// What the kernel remembers behind the pidfd after somebody reaped it (Linux 6.15 and later).
std::optional<mp::exit_status> ask_kernel(int pidfd) noexcept;
/// What /proc says of a process that has ended and that nobody reaped yet, whoever its parent is.
std::optional<mp::exit_status> ask_zombie(pid_t pid, int pidfd) noexcept;

/// Who a process is, even if its number is given to another one later.
struct process_id {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  ///< in clock ticks since boot; 0: no longer known
  friend bool operator==(const process_id&, const process_id&) = default;
};
process_id identify_process(pid_t pid) noexcept;

/// Waits until one of two descriptors has something (in, hang-up or error), or until `until`. -1: leave out. As soon as
/// `give_up` is readable, time is up.
struct two_ready {
  bool first = false, second = false;
};
two_ready wait_either(int first, int second, time_point until, int give_up = -1) noexcept;

/// Waits until `fd` takes bytes, at most until `until`. False: time is up.
bool wait_writable(int fd, time_point until, int give_up = -1) noexcept;
/// Is there something to read now? Of -1: no.
bool is_readable(int fd) noexcept;

/// How long from now until `until`, in whole milliseconds rounded up, as poll takes it; -1 for ever, 0 if over.
int poll_timeout(time_point until) noexcept;

}  // namespace mp::os
