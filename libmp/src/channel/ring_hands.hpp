#pragma once
/// @file
/// In hand: what each consuming thread of a queue got and has not finished with. Written before the commit of the get,
/// cleared by the thread's next get; after a death reported (take_lost) or given to the next consumer.
///
/// Threads:  the functions that change cells need the get lock, but for clear().   Processes: as memory.

#include "channel/ring_presence.hpp"

#include <functional>

namespace mp::ring {

class hands {
public:
  hands(memory& m, const presence& who) noexcept : memory_(m), presence_(who) {}

  static constexpr u32 none = ~u32{0};
  /// A cell for the calling thread. Throws error{out_of_resources}: all are taken, most by the dead.
  u32 claim();
  /// The cell's thread is done with what it has.
  void clear(u32 cell) noexcept { memory_.cell(cell).count.store(0, std::memory_order_release); }
  void give_back(u32 cell) noexcept;
  /// Makes a dead consumer's cell ours, by one store: killed in front of it, the items are still the dead's; behind it,
  /// we are the dead.
  void adopt(u32 cell) noexcept { memory_.cell(cell).owner.store(presence_.self(), std::memory_order_release); }
  /// The cell is now this thread's: whoever finds it after our death shall read our name.
  void sign(u32 cell) noexcept;
  /// The first `told` items of an adopted cell are done with. What is left goes back to `dead`, to be told later.
  void give_back_told(u32 cell, u32 told, identity dead) noexcept;

  /// Is this record in anybody's hand? Also without the lock (by the put side, for bodies).
  bool holds(u64 sequence) const;
  /// Clears cells whose commit never happened: after taking the get lock from a dead owner, before any commit.
  void drop_uncommitted(u64 head_sequence) noexcept;
  /// A cell of a dead process with items in hand; none: there is none.
  u32 find_lost() const;
  /// Does a live consumer other than this cell's have something in hand?
  bool others_in_hand(u32 own) const;
  /// Items of a dead identity that are in hand.
  u64 count_of(identity id) const noexcept;

private:
  u32 used() const noexcept;

  memory& memory_;
  const presence& presence_;
};

}  // namespace mp::ring
