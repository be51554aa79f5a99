// Records of the socket transport: what is sent arrives, what no sender writes is refused, and nothing leaks. FAULTS rows
// 53, 57, 58, 63.

#include "socket_records.hpp"

#include "support/fd_ledger.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>
#include <iostream>

using namespace mp_test;
using namespace mp::sock;

namespace {

note item() { return request(verb::item); }

mp::unique_fd memory_of(std::size_t size, bool is_there = true) {
  mp::unique_fd fd(::memfd_create("test", MFD_CLOEXEC));
  REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
  if (is_there) REQUIRE(::fallocate(fd.get(), 0, 0, static_cast<off_t>(size)) == 0);
  return fd;
}

}  // namespace

TEST_CASE("record: what is sent arrives as it was, with bodies of all sizes and their descriptors", "[record][unit]") {
  const fd_ledger ledger;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{100}, inline_bytes, inline_bytes + 1, std::size_t{3'000'000}})
    for (const std::size_t count : {0u, 1u, 3u}) {
      const ends e = make_ends();
      std::vector<mp::unique_fd> fds;
      for (std::size_t i = 0; i < count; ++i) fds.emplace_back(::eventfd(static_cast<unsigned>(i), EFD_CLOEXEC));
      const bytes body = body_of(size);
      note n = request(verb::put, mp::detail::role::receiver, true);
      n.value = 17;
      parcel sent = pack(n, body, fds);
      sent.number = 42;
      REQUIRE(send(e.ours.get(), sent) == 0);
      received_packet got;
      REQUIRE(receive(e.theirs.get(), got) == receipt::packet);
      CHECK(got.number == 42);
      CHECK(std::memcmp(&got.head, &n, sizeof n) == 0);
      CHECK((bytes(got.body.begin(), got.body.end()) == body));
      CHECK(got.fds.size() == count);
      CHECK(receive(e.theirs.get(), got) == receipt::nothing);
    }
  CHECK_CLEAN(ledger);
}

TEST_CASE("record: any flipped bit gives bad_frame, or a record that a sender could write", "[record][unit]") {
  const fd_ledger ledger;
  std::size_t flips = 0, refused = 0;
  for (const verb what : {verb::item, verb::put, verb::answer}) {
    const bytes record = bytes_of(pack(request(what), body_of(9)));
    REQUIRE(record.size() == at_body + 9);
    for (std::size_t bit = 0; bit < record.size() * 8; ++bit, ++flips) {
      bytes damaged = record;
      damaged[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      received_packet got;
      const auto error = received_as(damaged, {}, &got);
      if (error) {
        ++refused;
        CHECK(error == mp::errc::bad_frame);
        continue;
      }
      CHECK(got.body.size() == 9);
      CHECK((got.head.what >= verb::item && got.head.what <= verb::last));
      CHECK((got.head.role <= 3 && got.head.status <= 3 && got.fds.empty()));
    }
  }
  std::cout << "figure: " << flips << " bits of 3 records flipped, " << refused << " refused\n";
  CHECK(refused >= 3 * 16 * 8);  // magic, version, kind, descriptors and length alone
  CHECK_CLEAN(ledger);
}

TEST_CASE("record: one that is cut at any byte is refused, or its last bytes are missed by nobody", "[record][unit]") {
  const bytes record = bytes_of(pack(item(), body_of(100)));
  for (std::size_t cut = 1; cut < record.size(); ++cut)
    CHECK(received_as(std::span(record).first(cut)) == mp::errc::bad_frame);
  bytes longer = record;
  longer.push_back(std::byte{0});
  CHECK(received_as(longer) == mp::errc::bad_frame);
  bytes too_long = bytes_of(pack(item(), body_of(inline_bytes)));
  too_long.resize(too_long.size() + 1);
  CHECK(received_as(too_long) == mp::errc::bad_frame);
}

TEST_CASE("record: a length that lies is refused before memory is taken for it", "[record][unit]") {
  const fd_ledger ledger;
  {
    const bytes record = bytes_of(pack(item(), body_of(4)));
    const mp::unique_fd small = memory_of(4096), hole = memory_of(std::size_t{1} << 30, false);
    for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{5}, std::uint64_t{0xffff'ffff},
                                       std::uint64_t{1} << 63, ~std::uint64_t{0}})
      CHECK(received_as(with(record, at_length, length)) == mp::errc::bad_frame);
    bytes outside = with(with(record, at_descriptors, std::uint16_t{1}), at_outside, std::byte{1});
    outside.resize(at_body);
    const std::array fds{small.get()};
    for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{4095}, std::uint64_t{4097},
                                       std::uint64_t{1} << 32, std::uint64_t{1} << 40, ~std::uint64_t{0}})
      CHECK(received_as(with(outside, at_length, length), fds) == mp::errc::bad_frame);
    CHECK(received_as(with(outside, at_length, std::uint64_t{4096}), fds) == std::nullopt);
    // Promised by a file with nothing in it.
    const std::array holes{hole.get()};
    CHECK(received_as(with(outside, at_length, std::uint64_t{1} << 30), holes) == mp::errc::bad_frame);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("record: descriptors that are too many, missing or of a wrong kind are closed, and the record refused",
          "[record][unit]") {
  const fd_ledger ledger;
  {
    const bytes record = bytes_of(pack(item(), body_of(4)));
    const mp::unique_fd event(::eventfd(0, EFD_CLOEXEC));
    const std::vector<int> hundred(100, event.get());
    CHECK(received_as(record, hundred) == mp::errc::bad_frame);
    CHECK(received_as(with(record, at_descriptors, std::uint16_t{101}), hundred) == mp::errc::bad_frame);
    CHECK(received_as(with(record, at_descriptors, std::uint16_t{100}), hundred) == std::nullopt);
    CHECK(received_as(with(record, at_descriptors, std::uint16_t{1})) == mp::errc::bad_frame);
    CHECK(received_as(with(record, at_descriptors, std::uint16_t{254})) == mp::errc::bad_frame);

    bytes outside = with(with(record, at_descriptors, std::uint16_t{1}), at_outside, std::byte{1});
    CHECK(received_as(outside, std::array{event.get()}) == mp::errc::bad_frame);  // and a body inside, too
    outside.resize(at_body);
    CHECK(received_as(outside, std::array{event.get()}) == mp::errc::bad_frame);
    CHECK(received_as(with(outside, at_descriptors, std::uint16_t{0})) == mp::errc::bad_frame);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("record: unknown verbs, roles and states are refused", "[record][unit]") {
  const bytes record = bytes_of(pack(item()));
  for (const unsigned what : {0u, static_cast<unsigned>(verb::last) + 1, 255u})
    CHECK(received_as(with(record, at_note, static_cast<std::uint8_t>(what))) == mp::errc::bad_frame);
  CHECK(received_as(with(record, at_note + 1, std::uint8_t{4})) == mp::errc::bad_frame);
  CHECK(received_as(with(record, at_note + 2, std::uint8_t{4})) == mp::errc::bad_frame);
}
