#pragma once
// What the fault tests of the shared-memory channel share: items with a checksum, handles that cross a raw fork, facts
// about the memory. Raw forks are used on purpose: a traced child must be as small as possible.

#include "channel/ring_channel.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"

#include <poll.h>
#include <sys/types.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mp_fault {

using mp::time_point;
using mp::unique_fd;
using mp::detail::channel;
using mp::detail::channel_kind;
using mp::detail::channel_options;
using mp::detail::imported_handle;
using mp::detail::incoming;
using mp::detail::lost_message;
using mp::detail::op_status;
using mp::detail::outgoing;
using mp::detail::role;
using mp::detail::side;
using mp::ring::u32;
using mp::ring::u64;

inline constexpr time_point never = time_point::max();  // until: no limit
inline constexpr time_point at_once = time_point::min();
inline time_point in(std::chrono::milliseconds d) { return std::chrono::steady_clock::now() + d; }
inline constexpr std::chrono::seconds patience{10};

/// The random part of a random kill, or a look that is repeated: nothing is decided by it.
inline void let_pass(std::chrono::nanoseconds d) {
  const timespec t{static_cast<time_t>(d.count() / 1'000'000'000), static_cast<long>(d.count() % 1'000'000'000)};
  ::ppoll(nullptr, 0, &t, nullptr);
}

inline bool long_form() { return std::getenv("MP_TEST_LONG") != nullptr; }

/// An exported handle. Import it in the process that shall have it; everybody else must let go of it.
struct travelling {
  std::vector<std::byte> bytes;
  std::vector<unique_fd> fds;
};
travelling send_off(channel&, role);
imported_handle arrive(travelling&&);

std::shared_ptr<channel> make(channel_kind, mp::on_death = mp::on_death::report, bool joinable = false,
                              std::size_t maxsize = 0, std::size_t max_bytes = 0);

/// An item: {id, size, checksum, pattern of id}. At least 24 bytes.
inline constexpr std::size_t small_item = 24;
std::vector<std::byte> make_item(u64 id, std::size_t size);
struct seen {
  u64 id = 0, sequence = 0;
  std::size_t size = 0, fds = 0;
  bool whole = false;
};
seen look_at(std::span<const std::byte>);

op_status put_bytes(channel&, role, std::span<const std::byte>, time_point until, std::span<const unique_fd> fds = {});
inline op_status put_item(channel& c, role r, u64 id, std::size_t size, time_point until) {
  return put_bytes(c, r, make_item(id, size), until);
}
/// Gets up to `most` items; appends what came.
op_status get_items(channel&, role, std::vector<seen>& into, time_point until, std::size_t most = 1);
std::vector<seen> lost_items(channel&);

/// The control memory of a channel, mapped a second time.
class view {
public:
  explicit view(const channel&);
  mp::ring::control& head() const { return *control_; }
  std::atomic<u32>& next(u32 extent) const { return next_[extent]; }
  mp::ring::participant& slot(u32 i) const { return participants_[i]; }
  mp::ring::body_entry& body(u32 i) const { return reinterpret_cast<mp::ring::body_entry*>(bodies_.data())[i]; }
  mp::ring::hand_cell& cell(u32 i) const { return reinterpret_cast<mp::ring::hand_cell*>(cells_.data())[i]; }
  std::byte* log(u64 offset) const { return log_.data() + offset; }
  std::span<std::byte> control_bytes() const { return {control_map_.data(), mp::ring::page_bytes * 2}; }

  /// Are circle, free list and body lists whole, and is every extent and every body somewhere? Empty: yes. Ask only
  /// when nothing is under way.
  std::string damage() const;

private:
  mp::os::mapping control_map_, bodies_, cells_, log_;
  mp::ring::control* control_;
  mp::ring::participant* participants_;
  std::atomic<u32>* next_;
};

/// Counts promises kept and broken; prints the first broken ones.
struct tally {
  const char* name;
  std::size_t passed = 0, failed = 0;

  bool check(bool kept, const std::string& promise) {
    if (kept) {
      ++passed;
    } else if (++failed <= 20) {
      std::printf("broken: %s: %s\n", name, promise.c_str());
      std::fflush(stdout);
    }
    return kept;
  }
  /// The last line of a test program.
  int finish() const {
    std::printf("\ntally: %zu passed, %zu failed\n", passed, failed);
    std::fflush(stdout);
    return failed == 0 && passed > 0 ? 0 : 1;
  }
};

}  // namespace mp_fault
