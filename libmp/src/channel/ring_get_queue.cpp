// Getting from a queue. An item goes into the consumer's hand before the commit, and stays there until it asks for more.

#include "channel/ring_channel.hpp"
#include "channel/ring_mutants.hpp"
#include "os/per_thread.hpp"

#include <algorithm>
#include <cstring>
#include <list>
#include <string>

namespace mp::ring {
namespace {

std::atomic<u64> next_serial{1};

// Cells go back when their thread ends; until then an item stays in hand. A list: fn may add to it while one is in use.
template <class Use>
struct thread_table {
  std::list<Use> uses;
  ~thread_table() {
    for (Use& use : uses)
      if (const auto channel = use.channel.lock()) static_cast<ring_channel&>(*channel).release_cell(use.cell);
  }
};

}  // namespace

u64 next_channel_serial() noexcept { return next_serial.fetch_add(1, std::memory_order_relaxed); }

ring_channel::cell_use& ring_channel::my_cell() {
  auto& table = os::per_thread<thread_table<cell_use>>();
  for (cell_use& use : table.uses)
    if (use.serial == serial_) return use;
  std::erase_if(table.uses, [](const cell_use& use) { return use.channel.expired(); });
  cell_use& use = table.uses.emplace_back();
  use.serial = serial_;
  use.channel = weak_from_this();
  return use;
}

void ring_channel::release_cell(u32 cell) noexcept {
  // No lock: only its own thread writes to a cell that has an owner who lives.
  if (cell != hands::none && is_ours() && presence_.self()) hands_.give_back(cell);
}

void ring_channel::clear_hand() noexcept {
  if (is_pipe()) return;
  cell_use& use = my_cell();
  if (use.given == use.count) empty_hand(use);
}

// What the thread had in hand is done with; large messages' memory is free again, which a full put may wait for.
void ring_channel::empty_hand(cell_use& use) noexcept {
  if (use.cell != hands::none && use.count != 0) {
    hands_.clear(use.cell);
    if (use.bodies) {
      trim();
      after_get(true);
    }
  }
  use.given = use.count = 0;
  use.bodies = false;
}

bool ring_channel::lock_get(time_point until) {
  switch (acquire(shared().get_lock, presence_, until)) {
    case lock_result::locked: return true;
    case lock_result::timed_out: return false;
    case lock_result::taken_over: break;
  }
  if (!has(mistake::unsettled_take_over)) hands_.drop_uncommitted(head_sequence());
  if (options_.joinable) drop_uncommitted_got();
  return true;
}

op_status ring_channel::get_queue(role as, std::size_t most, deliver fn, void* context, time_point until,
                                  std::size_t& taken) {
  cell_use& use = my_cell();
  std::vector<unique_fd> fds;
  if (use.given < use.count) {  // left from a call that fn ended by an exception
    hand_out(use, fn, context, fds, most, taken);
    return op_status::ok;
  }
  empty_hand(use);
  for (;;) {
    bool timed_out = false;
    if (options_.on_consumer_death == on_death::redeliver && redeliver(use, until)) break;
    if (collect(use, most, fds, until, timed_out)) break;
    if (timed_out) return op_status::timed_out;
    if (const op_status s = wait_for_item(as, until, use.cell); s != op_status::ok) return s;
  }
  hand_out(use, fn, context, fds, most, taken);
  return op_status::ok;
}

// Takes records from the ring into this thread's cell and commits them by one store. False: there were none.
bool ring_channel::collect(cell_use& use, std::size_t most, std::vector<unique_fd>& fds, time_point until,
                           bool& timed_out) {
  control& c = shared();
  if (!lock_get(until)) {
    timed_out = true;
    return false;
  }
  bool worth_telling = c.maxsize != 0, left = false;
  {
    const release_on_exit guard{&c.get_lock};
    const position head = c.head.load(std::memory_order_relaxed);
    if (head == c.tail_seen) c.tail_seen = c.tail.load(std::memory_order_acquire);
    const position tail = c.tail_seen;
    if (head == tail) return false;
    if (use.cell == hands::none) use.cell = hands_.claim();
    hand_cell& cell = memory_.cell(use.cell);

    const u64 first = extend(count_of(head), c.get_sequence);
    position at = head;
    u32 count = 0;
    u64 used = 0;
    record last{};
    while (at != tail && count < std::min<std::size_t>(most, hand_entries)) {
      const record r = reader_.at(at);
      if ((r.header.flags & with_fds) && count > 0) break;
      hand_entry entry{first + count, r.header.size, 0, static_cast<u32>(used)};
      if (r.header.kind == record_kind::body) {
        body_ref ref;
        std::memcpy(&ref, r.payload, sizeof ref);
        entry.size = body_span(ref.size, ref.body).size();
        entry.body = ref.body + 1;
        worth_telling = use.bodies = true;
      } else {
        if (used + r.header.size > cell_data_bytes) break;
        std::memcpy(cell.data + used, r.payload, r.header.size);
        used += padded(r.header.size);
      }
      hand_entry& into = cell.entries[count++];
      std::atomic_ref(into.sequence).store(entry.sequence, std::memory_order_relaxed);  // hands::holds looks unlocked
      into.size = entry.size;
      into.body = entry.body;
      into.offset = entry.offset;
      worth_telling |= r.new_extent;
      at = r.after;
      last = r;
      if (r.header.flags & with_fds) {
        fds = peek_fds(r.fds);
        break;
      }
    }
    if (count == 0) return false;
    if (options_.joinable) note_got(first, count);
    // In hand first, then taken: killed between the two, whoever takes the lock clears the cell.
    if (has(mistake::unlocked_get)) c.get_lock.store(0);
    if (has(mistake::hand_after_head)) c.head.store(at);
    cell.count.store(count, std::memory_order_release);
    c.head.store(at, std::memory_order_release);
    c.get_sequence = first + count;
    if (last.header.flags & with_fds) {
      drop_fds(last.fds);
      worth_telling = true;
    }
    use.count = count;
    left = at != tail;
  }
  after_get(worth_telling || !left);
  if (left) wake_next(c.getters);
  return true;
}

std::span<const std::byte> ring_channel::entry_bytes(const hand_cell& cell, const hand_entry& entry) {
  if (entry.body != 0) return body_span(entry.size, entry.body - 1);
  if (entry.size > cell_data_bytes || entry.offset > cell_data_bytes - entry.size)
    damaged(shared(), "what a consumer has in hand lies nowhere");
  return {cell.data + entry.offset, entry.size};
}

void ring_channel::hand_out(cell_use& use, deliver fn, void* context, std::vector<unique_fd>& fds, std::size_t most,
                            std::size_t& taken) {
  const hand_cell& cell = memory_.cell(use.cell);
  while (use.given < use.count && taken < most) {
    const hand_entry entry = cell.entries[use.given++];
    incoming item;
    item.id = entry.sequence;
    item.bytes = entry_bytes(cell, entry);
    item.fds = std::move(fds);
    ++taken;
    fn(context, std::move(item));
  }
}

// Takes over what a dead consumer had in hand. False: there is nothing.
bool ring_channel::redeliver(cell_use& use, time_point until) {
  const auto now = std::chrono::steady_clock::now();
  if (now < use.next_sweep && !is_empty()) return false;
  use.next_sweep = now + os::sleep_slice;
  if (hands_.find_lost() == hands::none || !lock_get(until)) return false;
  const release_on_exit guard{&shared().get_lock};
  const u32 lost = hands_.find_lost();
  if (lost == hands::none) return false;
  const hand_cell& cell = memory_.cell(lost);
  const identity dead = cell.owner.load(std::memory_order_relaxed);
  // What comes again is not done; what else the dead consumer got, is. Counted while the cell is still its.
  if (options_.joinable && presence_.is_last(dead)) settle_slot(slot_of(dead), dead);
  if (use.cell != hands::none) hands_.give_back(std::exchange(use.cell, hands::none));
  hands_.adopt(lost);
  use.cell = lost;
  use.count = std::min(cell.count.load(std::memory_order_acquire), hand_entries);
  use.bodies = true;
  if (options_.joinable) note_got(no_sequence, use.count);
  hands_.sign(lost);
  return true;
}

// Nobody is waited for without end: what is not found because the lock's owner is stopped, a later call finds.
// The taker has the dead consumer's cell while it is told: killed meanwhile, the items are told again by another taker.
void ring_channel::take_lost(deliver_lost fn, void* context) {
  check_process();
  if (is_pipe() || options_.on_consumer_death == on_death::redeliver) return;
  for (;;) {
    if (hands_.find_lost() == hands::none) return;
    if (!lock_get(std::chrono::steady_clock::now() + patience_with_stopped)) return;
    struct give_back {
      hands& of;
      u32 cell, told = 0;
      identity dead = 0;
      ~give_back() {
        if (cell != hands::none) of.give_back_told(cell, told, dead);
      }
    } taken{hands_, hands::none};
    {
      const release_on_exit guard{&shared().get_lock};
      const u32 lost = hands_.find_lost();
      if (lost == hands::none) return;
      taken.dead = memory_.cell(lost).owner.load(std::memory_order_relaxed);
      hands_.adopt(lost);
      taken.cell = lost;
    }
    const hand_cell& cell = memory_.cell(taken.cell);
    while (taken.told < std::min(cell.count.load(std::memory_order_acquire), hand_entries)) {
      const hand_entry entry = cell.entries[taken.told++];
      fn(context, {{entry_bytes(cell, entry), {}, entry.sequence},
                   cell.pid,
                   std::string(cell.name, strnlen(cell.name, sizeof cell.name))});
    }
  }
}

}  // namespace mp::ring
