#pragma once
/// @file
/// The shared memory of a ring channel: one memfd, drawn. Everything here is read and written by processes that may
/// vanish between any two instructions, so every operation commits by one store (of `head` or `tail`).
///
///     file offset   what                                              pages are reserved
///     0             control: options, the two commit words, locks     at creation
///     4 KiB         participants: one per process                     page by page
///     68 KiB        next[]: the circle of log extents                 page by page
///     1 MiB         body table: who uses which body                   page by page
///     16 MiB        hands: what each consuming thread has in hand     cell by cell
///     64 MiB        log: extents of 16 KiB, small messages            extent by extent
///     512 GiB * k   bodies of class k: large messages                 body by body
///
/// The log is a circle of extents. A record is an 8-byte header and its payload, padded to 8. The writer always keeps
/// room for one jump record {next extent}; a jump is committed together with the record behind it. Positions never say
/// more than "where and how many": offset / 8 in 36 bits and a count of records in 28 bits, one 64-bit word each.
///
/// Invariants: (1) bytes in front of `tail` are whole; (2) extents from head's to tail's in circle order are unread,
/// all others are free for the put side; (3) a body is free when its record is behind `head` and in nobody's hand; (4)
/// `next`, free lists and the order of bodies are written under the put lock only (a pipe's log: by its one writer).
///
/// Source:   doc/decisions/0006-channels.md.

#include "os/futex.hpp"

#include <sys/types.h>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mp::ring {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

/// The reader had the bytes that are written next: fetched a record or two ahead, else each store waits for its line.
inline constexpr u64 fetch_ahead = 128;
inline constexpr u64 page_bytes = 4096;
inline constexpr u64 extent_bytes = 16 << 10;  // 4 of them stay in the nearest caches; a jump every 200 small messages
inline constexpr u32 base_extents = 4;         // 64 KiB: reserved at creation, an idle queue stays below 128 KiB
inline constexpr u32 max_extents = 65536;      // 1 GiB of small messages
inline constexpr u32 max_participants = 512;   // processes that hold a handle at the same time
inline constexpr u32 max_cells = 1024;         // consuming threads, and dead ones whose items nobody took
inline constexpr u32 max_bodies = 1u << 18;
inline constexpr u32 inline_most = 2000;  // bytes; larger messages get a body of their own
inline constexpr u32 max_pending_fds =
    64;  // items with descriptors that may wait in a channel: the kernel's limits are low
inline constexpr u64 most_idle_body_bytes = u64{32} << 20;  // drained bodies that stay warm; the rest goes back
inline constexpr u32 first_body_class = 12;                 // 4 KiB
inline constexpr u32 last_body_class = 33;                  // 8 GiB of address space: a message of 4 GiB and its length
inline constexpr u64 max_message = (u64{1} << 32) + (1u << 20);  // 4 GiB of payload and what the encoding adds

inline constexpr u64 control_offset = 0;
inline constexpr u64 participants_offset = page_bytes;
inline constexpr u64 next_offset = participants_offset + max_participants * 128;
inline constexpr u64 control_bytes = next_offset + max_extents * sizeof(u32);
inline constexpr u64 body_table_offset = u64{1} << 20;
inline constexpr u64 hands_offset = u64{16} << 20;
inline constexpr u64 log_offset = u64{64} << 20;
inline constexpr u64 body_region_bytes = u64{1} << 39;
inline constexpr u64 file_bytes = body_region_bytes * (last_body_class - first_body_class + 2);
static_assert(control_bytes <= body_table_offset);

constexpr u64 body_offset(u32 body_class, u64 index) noexcept {
  return body_region_bytes * (body_class - first_body_class + 1) + (index << body_class);
}

// -- commit words -----------------------------------------------------------------------------------------------------

inline constexpr u64 count_bits = 28;
inline constexpr u64 count_mask = (u64{1} << count_bits) - 1;

/// {offset in the log / 8, number of records so far modulo 2^28}
using position = u64;
constexpr position make_position(u64 offset, u64 count) noexcept {
  return (offset >> 3) << count_bits | (count & count_mask);
}
constexpr u64 offset_of(position p) noexcept { return (p >> count_bits) << 3; }
constexpr u64 count_of(position p) noexcept { return p & count_mask; }
constexpr u64 distance(position head, position tail) noexcept { return (count_of(tail) - count_of(head)) & count_mask; }
constexpr u32 extent_of(position p) noexcept { return static_cast<u32>(offset_of(p) / extent_bytes); }
/// The 64-bit sequence number behind a 28-bit count; `near` may be stale by up to 2^27 records.
constexpr u64 extend(u64 count, u64 near) noexcept {
  const u64 delta = (count - near) & count_mask;
  return delta < count_mask / 2 ? near + delta : near - ((near - count) & count_mask);
}
static_assert(extend(3, count_mask) == count_mask + 4 && extend(count_mask, count_mask + 3) == count_mask);

// -- records ----------------------------------------------------------------------------------------------------------

enum class record_kind : std::uint8_t { small = 1, body = 2, jump = 3 };
inline constexpr std::uint8_t with_fds = 1;
inline constexpr std::uint16_t record_mark = 0x6d70;  // "mp": a stray store is seen

struct record_header {
  u32 size;  // small: bytes of the message; jump: the next extent
  record_kind kind;
  std::uint8_t flags;
  std::uint16_t mark;
};
static_assert(sizeof(record_header) == 8);

struct fd_prefix {  // in front of the payload of a record with descriptors
  u64 nonce;        // the socket message that carries them
  u32 count;
  u32 unused;
};
struct body_ref {  // the payload of a body record
  u64 size;
  u32 body;
  u32 unused;
};
constexpr u64 padded(u64 n) noexcept { return (n + 7) & ~u64{7}; }

// -- shared structures ------------------------------------------------------------------------------------------------

/// {waiters: 1 bit, epoch: 20, slot + 1: 11}; 0 is free. See ring_lock.hpp.
using lock_word = os::futex_word;

/// Who sleeps on one side. A sleeper raises `flag`, runs the heavy barrier, looks again, sleeps on `event`.
struct alignas(128) sleepers {
  os::futex_word flag;    // taken by exchange: a flag cleared late can never swallow a newer sleep
  os::futex_word event;   // moved by whoever took the flag
  os::futex_word count;   // sleepers now; may be too high after a death, never too low
  os::futex_word woken;   // by wake_next, and nobody has woken up since: no need to wake again
  os::futex_word polled;  // somebody polls the socket of this side
  os::futex_word bell;    // a byte lies in that socket
};

struct participant {
  std::atomic<u32> epoch;  // moves when the slot is taken; what an old epoch owned is a dead process's
  u32 pid;
  u64 start_time;         // of the process, from /proc: a recycled pid is a stranger
  std::atomic<u64> done;  // task_done calls (joinable queues)
  // Items got: base, plus count if `head` is beyond first (joinable queues; written under the get lock). A look without
  // the lock may see two halves.
  struct got_record {
    std::atomic<u64> base, first, count;
    void set(u64 new_base, u64 new_first, u64 new_count) noexcept {
      base.store(new_base, std::memory_order_relaxed);
      first.store(new_first, std::memory_order_relaxed);
      count.store(new_count, std::memory_order_relaxed);
    }
  } got[2];
  std::atomic<u32> got_index;
  char name[52];
};
static_assert(sizeof(participant) == 128);

struct control {
  // set once
  u64 magic;
  u32 version;
  std::uint8_t kind, joinable, redeliver, unused;
  u64 type_hash, max_bytes, max_log_bytes;
  // rarely written
  alignas(128) std::atomic<u32> shut;
  std::atomic<u64> maxsize;       // items; 0: no bound
  std::atomic<u32> shared;        // another process has, or had, a handle: from now on things end by themselves
  std::atomic<u32> fence_needed;  // a participant without membarrier: every light barrier is a full fence
  std::atomic<u32> reader_left, writer_left;  // the last one was closed in order
  std::atomic<u32> departures;                // moves when a role ends in order: what was known of ends is old
  std::atomic<u32> holder_changes;            // a mailbox whose holders change: how often they did
  std::atomic<u32> poisoned;                  // somebody found bytes that no participant of ours writes
  std::atomic<u32> participants_used;         // slots below were in use at some time
  // A pipe's ends: the identity of the process that took the end out of a message, on_its_way, or 0 (where it was made,
  // or closed). A second user of one end is refused.
  std::atomic<u32> writer, reader;
  // the put side
  alignas(128) std::atomic<position> tail;
  std::atomic<u32> put_cpu;  // where the last put ran: spinning for a peer on our own processor is senseless
  alignas(128) lock_word put_lock;
  position head_seen;             // may lag behind head: as long as there is room by it, no look at the get side's line
  u64 put_sequence;               // near the sequence number of tail
  u32 extents_used, free_extent;  // free_extent: index + 1 of a list through next[]
  std::atomic<u32> circle_extents;
  u64 nonce;
  std::atomic<u32> fds_put;
  std::atomic<u32> bodies_used;
  u32 body_fifo_first, body_fifo_last, body_limbo;  // index + 1
  u32 body_free[last_body_class + 1];
  u32 body_count[last_body_class + 1];
  u32 fewer_bodies;             // than max_bodies: 0, but for tests of that limit
  std::atomic<u64> body_bytes;  // reserved by bodies in use
  u64 idle_bytes;               // reserved by bodies that are free
  // the get side
  alignas(128) std::atomic<position> head;
  std::atomic<u32> get_cpu;
  alignas(128) lock_word get_lock;
  position tail_seen;  // what lies between head and here is known to be whole: no look at the put side's line
  std::atomic<u64> get_sequence;  // near the sequence number of head
  std::atomic<u32> fds_got;
  std::atomic<u32> cells_used;
  // sleepers
  sleepers getters, putters, joiners;
};
static_assert(sizeof(control) <= page_bytes);

struct body_entry {
  std::atomic<u64> sequence;  // of the record that owns it; no_sequence: none
  std::atomic<u32> writer;    // the participant that is filling it, as a lock word; 0: nobody
  u32 next;                   // index + 1, in the list that it is in
  std::atomic<u64> place;     // {class, index in it}: one word, so that a free body can move to another class
  u64 reserved;

  u32 body_class() const noexcept { return static_cast<u32>(place.load(std::memory_order_relaxed)); }
  u32 index() const noexcept { return static_cast<u32>(place.load(std::memory_order_relaxed) >> 32); }
  void move_to(u32 new_class, u32 new_index) noexcept {
    place.store(u64{new_index} << 32 | new_class, std::memory_order_relaxed);
  }
};
static_assert(sizeof(body_entry) == 32);
inline constexpr u64 no_sequence = ~u64{0};

/// What one consuming thread has in hand. `count` is stored after the entries and before `head`; whoever takes the get
/// lock from a dead owner clears the cells whose commit never happened.
struct hand_entry {
  u64 sequence, size;
  u32 body;  // index + 1; 0: the bytes are in the cell
  u32 offset;
};
inline constexpr u32 hand_entries = 64;
inline constexpr u64 cell_bytes = 8192;
inline constexpr u64 cell_data_bytes = cell_bytes - 128 - hand_entries * sizeof(hand_entry);
struct hand_cell {
  std::atomic<u32> owner;  // {epoch, slot + 1} as a lock word; 0: free
  std::atomic<u32> count;
  pid_t pid;
  char name[44];
  char unused[72];
  hand_entry entries[hand_entries];
  std::byte data[cell_data_bytes];
};
static_assert(sizeof(hand_cell) == cell_bytes);

inline constexpr u64 control_magic = 0x31676e6972706d00;  // "\0mpring1"

// -- OFD lock bytes, beyond every file offset in use ------------------------------------------------------------------

inline constexpr u64 put_presence = u64{1} << 62;
inline constexpr u64 get_presence = put_presence + 1;
inline constexpr u64 slot_presence = put_presence + 16;

}  // namespace mp::ring
