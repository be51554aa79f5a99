#pragma once
/// @file
/// Deliberately wrong orders of commits, for tests/fault alone: a kill sweep that finds none of them proves nothing.
/// In the library this is `false` at compile time.
///
/// Threads:  free functions.         Processes: -

namespace mp::ring {

enum class mistake {
  none,
  hand_after_head,      // the item is taken before it is in hand: lost
  unlocked_get,         // the lock is free before the item is taken: a kill leaves it in hand and in the queue
  tail_before_payload,  // the item is visible before it is whole
  own_after_tail,       // a large message is visible before its memory is owned
  unsettled_take_over,  // what was in hand and never taken stays there after a take-over
  untidy_take_over,     // torn lists stay torn after a take-over
  pipe_before_payload,  // as tail_before_payload, on a pipe's fast way
};

#ifdef MP_MUTANTS
extern mistake mutant;
inline bool has(mistake m) noexcept { return mutant == m; }
#else
constexpr bool has(mistake) noexcept { return false; }
#endif

}  // namespace mp::ring
