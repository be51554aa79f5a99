#pragma once
/// @file
/// Who takes part in a ring channel, and who is dead. A process is a slot; it holds a write lock on its slot's byte and
/// read locks on the bytes "may put" and "may get", all through its own open file description: the kernel frees them.
///
/// Shape:    an identity is {epoch of the slot: 20 bits, slot + 1: 11 bits}, the same word that owns locks and cells.
/// Threads:  thread-safe.            Processes: process-bound.

#include "channel/ring_memory.hpp"
#include "os/proc.hpp"

namespace mp::ring {

using identity = u32;
inline constexpr u32 slot_bits = 11;
inline constexpr u32 slot_mask = (1u << slot_bits) - 1;
inline constexpr u32 epoch_mask = (1u << 20) - 1;
constexpr identity make_identity(u32 epoch, u32 slot) noexcept {
  return (epoch & epoch_mask) << slot_bits | (slot + 1);
}
/// An identity that no process ever has: whoever asks learns that its owner is dead.
inline constexpr identity nobody_alive = slot_mask;
/// Stands for the holder of a pipe's end that is in a message: whoever takes it out first has it.
inline constexpr identity on_its_way = slot_mask - 1;
constexpr u32 slot_of(identity id) noexcept { return (id & slot_mask) - 1; }

class presence {
public:
  explicit presence(memory& m) noexcept : memory_(m) {}

  /// Takes a free slot for this process. Throws error{out_of_resources}: 512 processes hold the channel.
  void join();
  /// Gives the slot back; what the old identity owned is nobody's from now on.
  void leave() noexcept;

  identity self() const noexcept { return self_; }
  u32 self_slot() const noexcept { return slot_of(self_); }

  /// Is the owner of this identity gone for ever? Dead = lock free and {pid, start time} gone: a process that closed
  /// all its descriptors still runs. Costs a system call or two.
  bool is_dead(identity id) const noexcept;

  /// Is the owner of this identity stopped? A look at /proc.
  bool is_stopped(identity id) const noexcept {
    const u32 slot = slot_of(id);
    return slot < max_participants && os::is_stopped(static_cast<pid_t>(memory_.slot(slot).pid));
  }

  /// Has nobody taken this identity's slot since?
  bool is_last(identity id) const noexcept {
    const u32 slot = slot_of(id);
    return slot < max_participants &&
           make_identity(memory_.slot(slot).epoch.load(std::memory_order_acquire), slot) == id;
  }
  /// Who had our slot before us: 0 or somebody dead.
  identity predecessor() const noexcept { return predecessor_; }

  void hold(u64 byte, bool held) noexcept;
  bool others_hold(u64 byte) const noexcept { return os::locked_by_other(memory_.fd(), byte); }

private:
  bool try_slot(u32 slot);
  void occupy(u32 slot);

  memory& memory_;
  identity self_ = 0, predecessor_ = 0;
};

}  // namespace mp::ring
