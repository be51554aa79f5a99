// Pipes and clients over sockets whose other side is a stranger.

#include "socket_records.hpp"

#include "mp/pipe.hpp"
#include "mp/queue.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <poll.h>
#include <array>
#include <future>
#include <optional>
#include <vector>

using namespace mp_test;
using namespace mp::sock;

namespace {

void send_raw(int socket, const bytes& record, std::span<const int> fds = {}) {
  REQUIRE(write_raw(socket, record, fds));
}

}  // namespace

TEST_CASE("socket queue: what a maker sends that is no answer throws bad_frame, and the next call goes on",
          "[record][unit]") {
  const fd_ledger ledger;
  {
    const mp::queue<int> q({.transport = mp::transport::socket});
    auto message = mp::detail::encode_to_buffer(q);
    ends stranger = make_ends();
    message.fds[0] = std::move(stranger.theirs);
    mp::detail::decoder d(message.bytes, std::move(message.fds));
    const mp::queue<int> client = mp::detail::decode<mp::queue<int>>(d);
    auto asked = std::async(std::launch::async, [&] {
      std::vector<std::optional<mp::errc>> ends;
      for (int i = 0; i < 4; ++i) ends.push_back(errc_of([&] { return client.get_until(mp::time_point::max()); }));
      return ends;
    });
    const auto next = [&](int socket, received_packet& p) {
      REQUIRE(wait_for(socket, POLLIN, std::chrono::steady_clock::now() + patience));
      REQUIRE(receive(socket, p) == receipt::packet);
    };
    received_packet hello, attach, asks;
    next(stranger.ours.get(), hello);
    CHECK(hello.head.what == verb::hello);
    next(stranger.ours.get(), attach);
    REQUIRE(attach.fds.size() == 1);
    const int line = attach.fds[0].get();
    next(line, asks);
    send_raw(line, body_of(100));
    next(line, asks);
    send_raw(line, bytes_of(pack(request(verb::size))));
    next(line, asks);
    send_raw(line, with(bytes_of(pack(request(verb::answer))), at_descriptors, std::uint16_t{3}));
    next(line, asks);
    attach.fds.clear();
    const auto ends = asked.get();
    CHECK(ends[0] == mp::errc::bad_frame);
    CHECK(ends[1] == mp::errc::bad_frame);
    CHECK(ends[2] == mp::errc::bad_frame);
    CHECK(ends[3] == mp::errc::closed);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("socket pipe: what no sender writes throws bad_frame, and the next item comes", "[record][unit]") {
  const fd_ledger ledger;
  {
    auto [in, out] = mp::pipe<int>({.transport = mp::transport::socket});
    auto message = mp::detail::encode_to_buffer(out);
    const int s = message.fds.at(0).get();
    const int value = 7;
    send_raw(s, body_of(100));
    REQUIRE(send(s, pack(request(verb::get))) == 0);
    send_raw(s, bytes_of(pack(request(verb::item))), std::array{0, 0});
    REQUIRE(send(s, pack(request(verb::item), std::as_bytes(std::span(&value, 1)))) == 0);
    for (int i = 0; i < 3; ++i) CHECK_ERRC(in.get_for(patience), bad_frame);
    CHECK(in.get_for(patience) == 7);
  }
  CHECK_CLEAN(ledger);
}
