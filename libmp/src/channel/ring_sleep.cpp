// The length of a spin. Must not be read from the environment at every wait.

#include "channel/ring_sleep.hpp"

#include <sched.h>
#include <cstdlib>

namespace mp::ring {
namespace {

std::chrono::nanoseconds read_spin_limit() noexcept {
  // 30 us: a wake-up across processors takes 25 us here; spinning as long as sleeping costs at most twice the best.
  constexpr std::chrono::microseconds usual{30};
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < 2) return {};
  const char* text = std::getenv("LIBMP_SPIN_US");
  if (!text) return usual;
  char* end = nullptr;
  const long us = std::strtol(text, &end, 10);
  return end != text && *end == 0 && us >= 0 && us <= 1'000'000 ? std::chrono::microseconds(us) : usual;
}

}  // namespace

std::chrono::nanoseconds spin_limit() noexcept {
  static const std::chrono::nanoseconds limit = read_spin_limit();
  return limit;
}

void offer_processor() noexcept { ::sched_yield(); }

u32 where_we_run() noexcept {
  static const u32 tie = [] {
    cpu_set_t allowed;
    return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) == 1 ? runs_only_there : 0;
  }();
  return static_cast<u32>(::sched_getcpu() + 1) | tie;
}

}  // namespace mp::ring
