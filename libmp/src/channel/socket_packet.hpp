#pragma once
/// @file
/// The records of the socket transport: one message of a SEQPACKET socket each, whole or not there at all.
///
/// Shape:    frame header (wire/frame.hpp), a note of 24 bytes, the body. A body above 60 KiB lies in a memfd that comes
///           along: it is written and read like a file, never mapped, so nobody can pull it away.
/// Threads:  free functions.         Processes: -
/// Source:   doc/wire-format.md; MEASURED E12, E18, E20, E26.

#include "mp/detail/channel.hpp"
#include "mp/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace mp::sock {

enum class verb : std::uint8_t {
  item = 1,   ///< a pipe's message
  hello,      ///< client: I am process `value`, pid, name in the body; the connection's role is mine from now on
  add_role,   ///< client: one more handle
  drop_role,  ///< client: one fewer
  attach,     ///< client: the descriptor that comes along is another connection of mine
  put,        ///< each of these is answered by one `answer`
  get,
  done,
  join,
  shutdown,
  size,
  take_lost,
  ready,
  clear_hand,  ///< flag: at any time, and nobody waits for an answer
  watch,       ///< answered when the side `value` is ready
  cancel,      ///< the last request is to be answered now; flag: it is given up, what it took goes back. Not answered
  answer,
  last = answer
};

/// What a record says besides its body.
struct note {
  verb what{};
  std::uint8_t role = 0;
  std::uint8_t status = 0;  ///< of an answer: op_status
  std::uint8_t flag = 0;    ///< of a request: may wait. Of an answer: yes or no
  std::int32_t pid = 0;
  std::uint64_t value = 0;
  std::uint64_t extra = 0;
};
static_assert(sizeof(note) == 24);

/// A request that says no more than this.
inline note request(verb what, detail::role as = detail::role::whole, bool may_wait = false) {
  note n;
  n.what = what;
  n.role = static_cast<std::uint8_t>(as);
  n.flag = may_wait ? 1 : 0;
  return n;
}

/// Bodies up to this many bytes lie in the record: it fits into a socket's default buffer three times.
inline constexpr std::size_t inline_bytes = 60 * 1024;

/// A message ready to be sent, as often as it takes.
struct parcel {
  note head;
  std::span<const std::byte> body;
  std::span<const unique_fd> fds;
  std::uint64_t number = 0;            ///< of a request on its connection; its answer has the same
  std::unique_ptr<std::byte[]> owned;  ///< where the body lies, if it was encoded here
  unique_fd outside;                   ///< the memfd, if the body is long
};

/// Encodes what is to be put. Throws what `write` throws; error{too_large}, error{out_of_resources}.
parcel pack(const note&, const detail::outgoing&);
parcel pack(const note&, std::span<const std::byte> body = {}, std::span<const unique_fd> fds = {});

/// 0, or errno: EAGAIN (no room), EPIPE (nobody there) and what throws otherwise is error{out_of_resources}.
int send(int socket, const parcel&);

struct received_packet {
  note head;
  std::uint64_t number = 0;
  std::unique_ptr<std::byte[]> storage;
  std::span<const std::byte> body;
  std::vector<unique_fd> fds;
};
enum class receipt { packet, nothing, end };

/// Takes one record without waiting. Throws error{bad_frame}: what came is none of ours, all its descriptors are closed.
receipt receive(int socket, received_packet& into);

/// Is it a socket that keeps records apart?
bool keeps_records(const unique_fd&) noexcept;
/// Waits until `events` (poll(2)) or an end are there; false: time is up. Sees every EINTR.
bool wait_for(int fd, short events, time_point until);
bool is(int fd, short events);

}  // namespace mp::sock
