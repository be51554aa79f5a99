#pragma once
// A put lock of a channel that somebody holds who lives: as a process that was stopped in the middle of a put, or lost
// its processor there. Needs private headers.

#include "channel/ring_channel.hpp"
#include "os/memfd.hpp"
#include "support/catch.hpp"
#include "support/patience.hpp"

#include <unistd.h>
#include <memory>

namespace mp_test {

/// Holds it in the name of this process from its making to release() or its end.
class held_put_lock {
public:
  explicit held_put_lock(const std::shared_ptr<mp::detail::channel>& of) {
    const int fd = dynamic_cast<const mp::ring::ring_channel&>(*of).memory_fd();
    memory_ = mp::os::mapping(fd, 0, mp::ring::control_bytes);
    control_ = reinterpret_cast<mp::ring::control*>(memory_.data());
    auto* const all = reinterpret_cast<mp::ring::participant*>(memory_.data() + mp::ring::participants_offset);
    mp::ring::identity me = 0;
    for (mp::ring::u32 slot = 0; slot < control_->participants_used; ++slot)
      if (all[slot].pid == static_cast<mp::ring::u32>(::getpid())) me = mp::ring::make_identity(all[slot].epoch, slot);
    REQUIRE(me != 0);
    REQUIRE(eventually([&] {
      mp::ring::u32 free = 0;
      return control_->put_lock.compare_exchange_strong(free, me);
    }));
  }
  held_put_lock(const held_put_lock&) = delete;
  held_put_lock& operator=(const held_put_lock&) = delete;
  ~held_put_lock() { release(); }

  void release() noexcept {
    if (control_) mp::ring::release(control_->put_lock);
    control_ = nullptr;
  }
  /// Has anybody met it?
  bool is_wanted() const noexcept { return control_ && (control_->put_lock & mp::ring::has_waiters) != 0; }

private:
  mp::os::mapping memory_;
  mp::ring::control* control_ = nullptr;
};

}  // namespace mp_test
