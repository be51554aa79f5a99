#pragma once
/// @file
/// Bodies: memory for large messages, owned by their record, recycled in use (fresh memory costs more than copying).
/// All functions need the put lock, also for a pipe.
///
/// Shape:    a body of class k has 2^k bytes of address space and as many reserved pages as its messages needed. It is
///           free when its record is behind `head`, in nobody's hand, and no writer fills it. When there are as many
///           bodies as there can be, a message takes a larger one than it needs, or a free smaller one moves to its class.
/// Source:   MEASURED 2.2.

#include "channel/ring_presence.hpp"

#include <functional>

namespace mp::ring {

class bodies {
public:
  /// `in_hand(sequence)`: is this record in the hand of a consumer, alive or dead?
  bodies(memory& m, const presence& who, std::function<bool(u64)> in_hand)
      : memory_(m), presence_(who), in_hand_(std::move(in_hand)) {}

  static constexpr u32 none = ~u32{0};
  /// A body of at least `size` bytes, marked as being filled by this process; none: over the bound. A message above the
  /// bound is accepted when no other body is in use. Throws error{out_of_resources}.
  u32 acquire(u64 size, u64 head_sequence, u64 most_bytes);
  /// Makes `sequence` the owner, in front of the commit of its record.
  void own(u32 body, u64 sequence) noexcept;
  /// Gives back what acquire gave and no record owns.
  void abandon(u32 body) noexcept;
  /// Frees what is drained, and gives pages back beyond a reserve of warm ones.
  void reclaim(u64 head_sequence);
  /// What is known of a body; nullptr: there is none of this number, or its entry was overwritten.
  const body_entry* find(u32 body) const { return sane(body); }
  /// Makes the derived lists anew, after the last owner of the put lock died inside.
  void rebuild(u64 head_sequence);

private:
  bool in_use(const body_entry& e, u64 head_sequence) const;
  void to_free(u32 body) noexcept;
  u32 used() const noexcept;
  body_entry* sane(u32 body) const;
  body_entry& checked(u32 link, u32& steps) const;
  u32 take_free(u32 body_class);
  u32 fresh(u32 body_class);
  u32 move_smaller(u32 body_class);
  bool is_full(u32 body_class) const noexcept;

  memory& memory_;
  const presence& presence_;
  std::function<bool(u64)> in_hand_;
};

}  // namespace mp::ring
