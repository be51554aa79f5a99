#pragma once
// Records of the socket transport as bytes: what a stranger could write, and what the tests of hostile records share.

#include "channel/socket_packet.hpp"
#include "os/socket.hpp"
#include "support/catch.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace mp_test {

using bytes = std::vector<std::byte>;

/// Two connected ends of the kind that channels use.
struct ends {
  mp::unique_fd ours, theirs;
};
inline ends make_ends() {
  auto pair = mp::os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  return {std::move(pair.first), std::move(pair.second)};
}

inline bytes body_of(std::size_t size) {
  bytes all(size);
  for (std::size_t i = 0; i < size; ++i) all[i] = static_cast<std::byte>(i * 7);
  return all;
}

/// What send() writes, as bytes; `fds`: what it sent along.
inline bytes bytes_of(const mp::sock::parcel& p, std::vector<mp::unique_fd>* fds = nullptr) {
  const ends e = make_ends();
  REQUIRE(mp::sock::send(e.ours.get(), p) == 0);
  bytes room(1 << 17);
  std::vector<mp::unique_fd> came;
  const auto got = mp::os::recv_with_fds(e.theirs.get(), room, came, MSG_DONTWAIT);
  REQUIRE(got.bytes > 0);
  if (fds) *fds = std::move(came);
  room.resize(static_cast<std::size_t>(got.bytes));
  return room;
}

inline bool write_raw(int socket, std::span<const std::byte> record, std::span<const int> fds = {}) {
  return mp::os::send_with_fds(socket, record, fds, MSG_DONTWAIT) == static_cast<ssize_t>(record.size());
}

/// What receive() makes of a record: the error's code, nullopt if it is one.
inline std::optional<mp::errc> received_as(std::span<const std::byte> record, std::span<const int> fds = {},
                                           mp::sock::received_packet* into = nullptr) {
  const ends e = make_ends();
  REQUIRE(write_raw(e.ours.get(), record, fds));
  mp::sock::received_packet here;
  return errc_of([&] { return mp::sock::receive(e.theirs.get(), into ? *into : here); });
}

/// Offsets in a record, as doc/wire-format.md draws it.
inline constexpr std::size_t at_descriptors = 6, at_length = 8, at_note = 32, at_outside = 56, at_body = 57;
template <class T>
bytes with(bytes record, std::size_t at, T value) {
  std::memcpy(record.data() + at, &value, sizeof value);
  return record;
}

}  // namespace mp_test
