// libFuzzer: hostile bytes as a record of the socket transport, read by the function that channels read with. The first
// byte says what travels along: descriptors, one of them with as many bytes as the second says.

#include "channel/socket_packet.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace {

void check(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  static const auto ends = mp::os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  std::vector<mp::unique_fd> fds;
  for (unsigned i = 0; i < data[0] % 4u; ++i) {
    fds.emplace_back(::memfd_create("fuzz", MFD_CLOEXEC));
    const std::vector<char> content(static_cast<std::size_t>(data[1]) << 10);
    check(::write(fds.back().get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  }
  std::vector<int> numbers;
  for (const auto& fd : fds) numbers.push_back(fd.get());
  const auto record = std::as_bytes(std::span(data + 2, size - 2));
  if (mp::os::send_with_fds(ends.first.get(), record, numbers, MSG_DONTWAIT) < 0)
    return 0;  // longer than a socket takes

  mp::sock::received_packet got;
  try {
    check(mp::sock::receive(ends.second.get(), got) == mp::sock::receipt::packet);
    check(got.head.what >= mp::sock::verb::item && got.head.what <= mp::sock::verb::last);
    check(got.head.role <= 3 && got.head.status <= 3 && got.fds.size() <= fds.size());
    check(got.body.size() <= std::max<std::size_t>(size, static_cast<std::size_t>(data[1]) << 10));
    unsigned sum = 0;
    for (const std::byte b : got.body) sum += std::to_integer<unsigned>(b);
    check(sum <= 255 * got.body.size());
  } catch (const mp::error& e) {
    check(e.code() == mp::errc::bad_frame);
  }
  check(mp::sock::receive(ends.second.get(), got) == mp::sock::receipt::nothing);
  return 0;
}
