// Cells. Must never clear what a dead consumer had in hand before somebody else has it (or was told).

#include "channel/ring_hands.hpp"

#include "mp/error.hpp"

#include <sys/prctl.h>
#include <unistd.h>
#include <algorithm>
#include <cstring>

namespace mp::ring {

u32 hands::used() const noexcept {
  return std::min(memory_.head().cells_used.load(std::memory_order_acquire), max_cells);
}

u32 hands::claim() {
  control& c = memory_.head();
  const u32 most = used();
  u32 at = none;
  for (u32 i = 0; i < most && at == none; ++i) {
    hand_cell& cell = memory_.cell(i);
    const u32 owner = cell.owner.load(std::memory_order_relaxed);
    if (owner == 0 || (cell.count.load(std::memory_order_acquire) == 0 && presence_.is_dead(owner))) at = i;
  }
  if (at == none) {
    if (most == max_cells)
      detail::throw_error(errc::out_of_resources,
                          "a queue has 1024 consuming threads, or dead ones whose items nobody took: call take_lost()");
    memory_.reserve(hands_offset + most * cell_bytes, cell_bytes);
    at = most;
    memory_.cell(at).count.store(0, std::memory_order_relaxed);
    memory_.cell(at).owner.store(0, std::memory_order_relaxed);
    c.cells_used.store(most + 1, std::memory_order_release);
  }
  sign(at);
  adopt(at);
  return at;
}

void hands::sign(u32 cell) noexcept {
  hand_cell& mine = memory_.cell(cell);
  mine.pid = ::getpid();
  ::prctl(PR_GET_NAME, mine.name);
}

void hands::give_back_told(u32 cell, u32 told, identity dead) noexcept {
  hand_cell& mine = memory_.cell(cell);
  const u32 count = std::min(mine.count.load(std::memory_order_acquire), hand_entries);
  if (told >= count) return give_back(cell);
  std::copy(mine.entries + told, mine.entries + count, mine.entries);
  mine.count.store(count - told, std::memory_order_release);
  mine.owner.store(dead, std::memory_order_release);
}

void hands::give_back(u32 cell) noexcept {
  memory_.cell(cell).count.store(0, std::memory_order_release);
  memory_.cell(cell).owner.store(0, std::memory_order_release);
}

// Without a lock. What is held all the time is found; a cell that is filled meanwhile holds nothing in front of a head
// that was read before.
bool hands::holds(u64 sequence) const {
  for (u32 i = 0, n = used(); i < n; ++i) {
    hand_cell& cell = memory_.cell(i);
    const u32 count = std::min(cell.count.load(std::memory_order_acquire), hand_entries);
    for (u32 k = 0; k < count; ++k)
      if (std::atomic_ref(cell.entries[k].sequence).load(std::memory_order_relaxed) == sequence) return true;
  }
  return false;
}

void hands::drop_uncommitted(u64 head_sequence) noexcept {
  for (u32 i = 0, n = used(); i < n; ++i) {
    hand_cell& cell = memory_.cell(i);
    if (cell.count.load(std::memory_order_acquire) != 0 && cell.entries[0].sequence >= head_sequence) clear(i);
  }
}

u32 hands::find_lost() const {
  for (u32 i = 0, n = used(); i < n; ++i) {
    const hand_cell& cell = memory_.cell(i);
    const u32 owner = cell.owner.load(std::memory_order_acquire);
    if (owner != 0 && cell.count.load(std::memory_order_acquire) != 0 && presence_.is_dead(owner)) return i;
  }
  return none;
}

bool hands::others_in_hand(u32 own) const {
  for (u32 i = 0, n = used(); i < n; ++i)
    if (i != own && memory_.cell(i).count.load(std::memory_order_acquire) != 0) return true;
  return false;
}

u64 hands::count_of(identity id) const noexcept {
  u64 sum = 0;
  for (u32 i = 0, n = used(); i < n; ++i) {
    const hand_cell& cell = memory_.cell(i);
    if (cell.owner.load(std::memory_order_acquire) == id) sum += cell.count.load(std::memory_order_acquire);
  }
  return sum;
}

}  // namespace mp::ring
