// Registration for membarrier, which must be repeated in every process: exec forgets it. And sleeping on several words.

#include "os/futex.hpp"

#include <algorithm>

namespace mp::os {

bool register_heavy_barrier() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool futex_wait_any(std::span<const futex_awaited> words, time_point until, std::chrono::nanoseconds slice) noexcept {
  constexpr long futex_waitv = 449;  // on every architecture; younger than the headers of the oldest system we build on
  static std::atomic<bool> is_missing{false};
  if (is_missing.load(std::memory_order_relaxed)) return false;
  // An absolute time, unlike FUTEX_WAIT's.
  const auto end = std::min(until, deadline_after(std::chrono::steady_clock::now(), slice)).time_since_epoch();
  const timespec limit{static_cast<time_t>(end.count() / 1'000'000'000),
                       static_cast<long>(end.count() % 1'000'000'000)};
  if (::syscall(futex_waitv, words.data(), words.size(), 0, &limit, CLOCK_MONOTONIC) >= 0) return true;
  if (errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR) return true;
  is_missing.store(true, std::memory_order_relaxed);
  return false;
}

}  // namespace mp::os
