// Getting. A queue's item goes into the consumer's hand before the commit; a pipe's is decoded where it lies.

#include "channel/ring_channel.hpp"
#include "channel/ring_mutants.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <algorithm>
#include <cerrno>
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
  thread_local thread_table<cell_use> table;
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

bool ring_channel::is_empty() const noexcept {
  const control& c = shared();
  return c.head.load(std::memory_order_relaxed) == c.tail.load(std::memory_order_acquire);
}

u64 ring_channel::head_sequence() const noexcept {
  const control& c = shared();
  return extend(count_of(c.head.load(std::memory_order_acquire)), c.get_sequence);
}

op_status ring_channel::get(role as, std::size_t most, deliver fn, void* context, time_point until,
                            std::size_t& taken) {
  check_process();
  taken = 0;
  return is_pipe() ? get_pipe(as, most, fn, context, until, taken) : get_queue(as, most, fn, context, until, taken);
}

std::span<const std::byte> ring_channel::body_span(u64 size, u32 body) {
  control& c = shared();
  const body_entry* entry = bodies_.find(body);
  if (!entry || size > entry->reserved) damaged(c, "a large message lies nowhere");
  return {memory_.body_bytes(*entry), size};
}

// -- a pipe: one reader, no lock -------------------------------------------------------------------------------------

// A pipe's next small message, right behind the last one. False: look the slow way.
inline bool ring_channel::get_fast(deliver fn, void* context) {
  control& c = *fast_;
  auto& at = get_cursor_;
  if (at.head == at.tail_seen) {
    if (at.left == 0) return false;
    at.tail_seen = c.tail.load(std::memory_order_acquire);
    if (at.head == at.tail_seen) return false;
  }
  record_header header;
  std::memcpy(&header, at.at, sizeof header);
  const u64 total = sizeof header + padded(header.size);
  if (header.kind != record_kind::small || header.flags != 0 || header.mark != record_mark ||
      header.size > inline_most || total > at.left)
    return false;
  // Taken when fn is done with it, or throws: the bytes lie in the ring until then.
  struct commit_on_exit {
    ring_channel& self;
    control& c;
    u64 total;
    ~commit_on_exit() {
      auto& cursor = self.get_cursor_;
      cursor.at += total;
      cursor.left -= total;
      cursor.head += (total >> 3) << count_bits | 1;
      c.head.store(cursor.head, std::memory_order_release);
      light_barrier(c);
      if (c.putters.flag.load(std::memory_order_relaxed) | c.putters.polled.load(std::memory_order_relaxed))
          [[unlikely]]
        self.after_get(c.maxsize != 0);
    }
  } const commit{*this, c, total};
  fn(context, incoming{{at.at + sizeof header, header.size},
                       {},
                       extend(count_of(at.head), c.get_sequence.load(std::memory_order_relaxed))});
  return true;
}

// After a commit the slow way: where the fast way goes on.
void ring_channel::place_get_cursor(position head) noexcept {
  get_cursor_ = {};
  if (count_mask - count_of(head) <= extent_bytes / sizeof(record_header)) return;
  if (const std::byte* at = reader_.where(offset_of(head)))
    get_cursor_ = {head, head, at, extent_bytes - offset_of(head) % extent_bytes};
}

op_status ring_channel::get_pipe(role as, std::size_t most, deliver fn, void* context, time_point until,
                                 std::size_t& taken) {
  control& c = shared();
  while (taken < most) {
    if (get_fast(fn, context)) {
      ++taken;
      continue;
    }
    const position head = c.head.load(std::memory_order_relaxed);
    if (head == c.tail.load(std::memory_order_acquire)) {
      if (taken > 0) break;
      if (const op_status s = wait_for_item(as, until, hands::none); s != op_status::ok) return s;
      continue;
    }
    const record r = reader_.at(head);
    incoming item;
    item.id = extend(count_of(head), c.get_sequence);
    bool is_body = false;
    if (r.header.kind == record_kind::body) {
      body_ref ref;
      std::memcpy(&ref, r.payload, sizeof ref);
      item.bytes = body_span(ref.size, ref.body);
      is_body = true;
    } else {
      item.bytes = {r.payload, r.header.size};
    }
    const bool has_fds = r.header.flags & with_fds;
    if (has_fds) item.fds = peek_fds(r.fds);
    // Taken when fn is done with it, or throws: the bytes lie in the ring until then.
    struct commit_on_exit {
      ring_channel& self;
      const record& r;
      u64 id;
      bool has_fds, is_body;
      ~commit_on_exit() {
        control& shared = self.shared();
        shared.get_sequence = id + 1;
        shared.head.store(r.after, std::memory_order_release);
        if (has_fds) self.drop_fds(r.fds);
        self.place_get_cursor(r.after);
        if (is_body) self.trim();
        self.after_get(r.new_extent || is_body || has_fds || shared.maxsize != 0);
      }
    } const commit{*this, r, item.id, has_fds, is_body};
    ++taken;
    fn(context, std::move(item));
  }
  return op_status::ok;
}

// -- a queue: many consumers, in-hand cells
// -----------------------------------------------------------------------------

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
      cell.entries[count++] = entry;
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

// The taker has the dead consumer's cell while it is told: killed meanwhile, the items are told again by another taker.
void ring_channel::take_lost(deliver_lost fn, void* context) {
  check_process();
  if (is_pipe() || options_.on_consumer_death == on_death::redeliver) return;
  for (;;) {
    if (hands_.find_lost() == hands::none || !lock_get(time_point::max())) return;
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

// -- waiting
// ------------------------------------------------------------------------------------------------------------

bool ring_channel::get_ended(role as, u32 own_cell) const {
  const control& c = shared();
  (void)as;
  if (c.shut.load(std::memory_order_acquire)) {
    // what is in a live consumer's hand may come back
  } else {
    if (senders_.load(std::memory_order_relaxed) > 0) return false;
    // Threads may share a whole queue; without one in this process nobody could put any more.
    if (!is_pipe() && !c.shared.load(std::memory_order_relaxed) && wholes_.load(std::memory_order_relaxed) > 0)
      return false;
    if (presence_.others_hold(put_presence)) return false;
  }
  return is_pipe() || options_.on_consumer_death == on_death::report || !hands_.others_in_hand(own_cell);
}

op_status ring_channel::how_get_ended() const noexcept {
  const control& c = shared();
  return !is_pipe() || c.shut.load(std::memory_order_acquire) || c.writer_left.load(std::memory_order_acquire)
             ? op_status::closed
             : op_status::peer_died;
}

op_status ring_channel::wait_for_item(role as, time_point until, u32 own_cell) {
  control& c = shared();
  const u32 departures = c.departures.load(std::memory_order_acquire);
  const auto worth_a_try = [&] {
    return !is_empty() || c.shut.load(std::memory_order_relaxed) ||
           c.departures.load(std::memory_order_relaxed) != departures;
  };
  const u32 cpu = this_cpu() + 1;
  if (c.get_cpu.load(std::memory_order_relaxed) != cpu) c.get_cpu.store(cpu, std::memory_order_relaxed);
  if (until > time_point::min() && spin([&] { return !is_empty(); }, c.put_cpu, until)) return op_status::ok;
  if (c.nonce != 0) [[unlikely]]
    drop_orphaned_fds();
  const auto now = std::chrono::steady_clock::now();
  if (until <= now || !get_look_.is_good(departures, now)) {
    if (get_ended(as, own_cell))
      return is_empty() ? how_get_ended() : op_status::ok;  // the last item came before the end
    get_look_.note(departures, now);
  }
  if (until <= now) return is_empty() ? op_status::timed_out : op_status::ok;
  if (!c.shut.load(std::memory_order_relaxed))
    sleep(c, c.getters, worth_a_try, until);
  else
    os::futex_wait(c.getters.event, c.getters.event.load(),
                   until);  // only in-hand items of others keep this from its end
  if (is_empty()) get_look_.forget();
  return op_status::ok;
}

// A burst is over: what its large messages lie in goes back, though nobody may put again for a long time.
void ring_channel::trim() noexcept {
  control& c = shared();
  if (c.body_bytes.load(std::memory_order_relaxed) <= most_idle_body_bytes || !is_empty() ||
      !try_acquire(c.put_lock, presence_))
    return;
  const release_on_exit guard{&c.put_lock};
  try {
    bodies_.reclaim(head_sequence());
  } catch (...) {  // memory is short: the next put tries again
  }
}

void ring_channel::after_get(bool progress_worth_telling) noexcept {
  control& c = shared();
  light_barrier(c);
  if (c.putters.flag.load(std::memory_order_relaxed) && (progress_worth_telling || is_empty())) wake_one(c.putters);
  if (c.putters.polled.load(std::memory_order_relaxed)) [[unlikely]]
    ring_bell(side::put);
}

// -- descriptors
// --------------------------------------------------------------------------------------------------------

std::vector<unique_fd> ring_channel::peek_fds(const fd_prefix& want) {
  control& c = shared();
  for (;;) {
    u64 nonce = 0;
    std::vector<unique_fd> fds;
    const auto got = os::recv_with_fds(get_socket_.get(), std::as_writable_bytes(std::span(&nonce, 1)), fds,
                                       MSG_PEEK | MSG_DONTWAIT);
    if (got.bytes == 1) c.getters.bell.store(0, std::memory_order_seq_cst);  // a bell in front of it
    const bool match = got.bytes == sizeof nonce && nonce == want.nonce;
    if (match && !got.truncated && fds.size() == want.count) return fds;
    if (match)
      detail::throw_error(errc::out_of_resources,
                          "a message carries " + std::to_string(want.count) + " descriptors, of which " +
                              std::to_string(fds.size()) +
                              " fit: raise the limit with ulimit -n; the message is still there");
    if (got.bytes <= 0)
      return {};  // a consumer died between its commit and here, or the sender was refused: the decoder says what is
                  // missing
    std::byte dropped;  // nobody committed it, or a dead consumer took it
    ::recv(get_socket_.get(), &dropped, 1, MSG_DONTWAIT);
  }
}

// Descriptors in front of an empty queue: their put was killed before its commit. One of them may be a handle of another
// channel, which would never end while it lies here.
void ring_channel::drop_orphaned_fds() noexcept {
  u64 nonce = 0;
  const auto has_some = [&] {
    return ::recv(get_socket_.get(), &nonce, sizeof nonce, MSG_PEEK | MSG_DONTWAIT) == sizeof nonce;
  };
  if (is_pipe() || !is_empty() || !has_some()) return;
  try {
    // A put that is under way holds the lock, a dead one's lock is taken over.
    if (!lock_put(time_point::min())) return;
  } catch (...) {
    return;
  }
  const release_on_exit guard{&shared().put_lock};
  while (is_empty() && has_some()) ::recv(get_socket_.get(), &nonce, sizeof nonce, MSG_DONTWAIT);
}

void ring_channel::drop_fds(const fd_prefix& taken) noexcept {
  control& c = shared();
  c.fds_got.fetch_add(1, std::memory_order_release);
  u64 nonce = 0;
  if (::recv(get_socket_.get(), &nonce, sizeof nonce, MSG_PEEK | MSG_DONTWAIT) == sizeof nonce && nonce == taken.nonce)
    ::recv(get_socket_.get(), &nonce, sizeof nonce, MSG_DONTWAIT);
  if (c.getters.polled.load(std::memory_order_relaxed) && !is_empty()) ring_bell(side::get);
}

}  // namespace mp::ring
