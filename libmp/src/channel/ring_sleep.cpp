// The length of a spin. Must not be read from the environment at every wait.

#include "channel/ring_sleep.hpp"

#include <sched.h>
#include <algorithm>
#include <cstdlib>

namespace mp::ring {
namespace {

bool has_one_processor() noexcept {
  cpu_set_t allowed;
  return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < 2;
}

std::chrono::nanoseconds asked_limit() noexcept {
  // 30 us: a wake-up across processors takes 25 us here; spinning as long as sleeping costs at most twice the best.
  constexpr std::chrono::microseconds usual{30};
  const char* text = std::getenv("LIBMP_SPIN_US");
  if (!text) return usual;
  char* end = nullptr;
  const long us = std::strtol(text, &end, 10);
  return end != text && *end == 0 && us >= 0 && us <= 1'000'000 ? std::chrono::microseconds(us) : usual;
}

}  // namespace

std::chrono::nanoseconds spin_limit() noexcept {
  static const std::chrono::nanoseconds limit = has_one_processor() ? std::chrono::nanoseconds() : asked_limit();
  return limit;
}

namespace {

// Of this thread. One long yield may be an accident; a third one that has work to do makes them ever rarer.
struct yield_record {
  int left_out = 0;  // so many waits without
  int penalty = first_penalty;
  int good = 0;  // in a row
  static constexpr int first_penalty = 64, most_penalty = 1 << 16, forgiven_after = 256;
};
thread_local yield_record yields;

}  // namespace

int yields_before_sleep() noexcept {
  static const int usual = asked_limit().count() == 0 ? 0 : 2;
  if (yields.left_out == 0) return usual;
  --yields.left_out;
  return 0;
}

void note_yields(std::chrono::nanoseconds took) noexcept {
  // Much longer than the other side needs for a message: then a sleeper that is woken would have come first.
  constexpr std::chrono::microseconds too_long{200};
  yield_record& mine = yields;
  if (took > too_long) {
    mine.left_out = mine.penalty;
    mine.penalty = std::min(2 * mine.penalty, yield_record::most_penalty);
    mine.good = 0;
  } else if (++mine.good == yield_record::forgiven_after) {
    mine.penalty = yield_record::first_penalty;
    mine.good = 0;
  }
}

void offer_processor() noexcept { ::sched_yield(); }

u32 where_we_run() noexcept {
  static const u32 tie = has_one_processor() ? runs_only_there : 0;
  return static_cast<u32>(::sched_getcpu() + 1) | tie;
}

}  // namespace mp::ring
