// Large messages' memory. Must never recycle bytes that a consumer, alive or dead, still has in hand.

#include "channel/ring_bodies.hpp"

#include "mp/error.hpp"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

namespace mp::ring {
namespace {

constexpr u64 pages(u64 n) { return (n + page_bytes - 1) / page_bytes * page_bytes; }

}  // namespace

bool bodies::in_use(const body_entry& e, u64 head_sequence) const {
  if (const u32 writer = e.writer.load(std::memory_order_acquire); writer != 0 && !presence_.is_dead(writer))
    return true;
  const u64 sequence = e.sequence.load(std::memory_order_acquire);
  return sequence != no_sequence && (sequence >= head_sequence || in_hand_(sequence));
}

u32 bodies::used() const noexcept {
  return std::min(memory_.head().bodies_used.load(std::memory_order_relaxed), max_bodies);
}

body_entry* bodies::sane(u32 body) const {
  if (body >= used()) return nullptr;
  body_entry& e = memory_.body(body);
  const u32 k = e.body_class();
  const bool fits =
      k >= first_body_class && k <= last_body_class && e.index() < body_region_bytes >> k && e.reserved <= u64{1} << k;
  return fits ? &e : nullptr;
}

// The body behind a link of a list. A list of more steps than there are bodies is a circle.
body_entry& bodies::checked(u32 link, u32& steps) const {
  body_entry* e = sane(link - 1);
  if (!e || ++steps > used()) damaged(memory_.head(), "a list of large messages is torn");
  return *e;
}

void bodies::to_free(u32 body) noexcept {
  control& c = memory_.head();
  body_entry& e = memory_.body(body);
  c.body_bytes -= std::min(c.body_bytes.load(), e.reserved);
  if (c.idle_bytes + e.reserved > most_idle_body_bytes) {
    // First forgotten, then given back: killed between the two, nobody takes missing pages for reserved ones.
    const u64 had = std::exchange(e.reserved, 0);
    memory_.release(body_offset(e.body_class(), e.index()), had);
  }
  c.idle_bytes += e.reserved;
  e.sequence.store(no_sequence, std::memory_order_relaxed);
  e.writer.store(0, std::memory_order_relaxed);
  e.next = c.body_free[e.body_class()];
  c.body_free[e.body_class()] = body + 1;
}

void bodies::reclaim(u64 head_sequence) {
  control& c = memory_.head();
  // Bodies are committed in order, so they are drained in order; what a consumer keeps in hand waits aside in limbo.
  u32 steps = 0;
  for (u32 link = c.body_limbo, kept = 0; link != 0;) {
    body_entry& e = checked(link, steps);
    const u32 next = e.next;
    if (in_use(e, head_sequence)) {
      e.next = kept;
      kept = link;
    } else {
      to_free(link - 1);
    }
    link = next;
    c.body_limbo = link == 0 ? kept : c.body_limbo;
  }
  while (c.body_fifo_first != 0) {
    const u32 link = c.body_fifo_first;
    body_entry& e = checked(link, steps);
    const u64 sequence = e.sequence.load(std::memory_order_relaxed);
    if (sequence != no_sequence && sequence >= head_sequence) return;
    c.body_fifo_first = e.next;
    if (c.body_fifo_first == 0) c.body_fifo_last = 0;
    if (in_use(e, head_sequence)) {
      e.next = c.body_limbo;
      c.body_limbo = link;
    } else {
      to_free(link - 1);
    }
  }
}

// No address space of this class is left.
bool bodies::is_full(u32 body_class) const noexcept {
  return body_offset(body_class, memory_.head().body_count[body_class] + 1) > body_offset(body_class + 1, 0);
}

u32 bodies::take_free(u32 body_class) {
  control& c = memory_.head();
  const u32 link = c.body_free[body_class];
  if (link == 0) return none;
  u32 steps = 0;
  body_entry& e = checked(link, steps);
  if (e.body_class() != body_class) damaged(c, "a list of large messages is torn");
  c.body_free[body_class] = e.next;
  c.idle_bytes -= std::min(c.idle_bytes, e.reserved);
  c.body_bytes += e.reserved;
  return link - 1;
}

u32 bodies::fresh(u32 body_class) {
  control& c = memory_.head();
  if (u64{c.bodies_used} + c.fewer_bodies >= max_bodies || is_full(body_class)) return none;
  const u32 body = c.bodies_used;
  if (body * sizeof(body_entry) % page_bytes == 0)
    memory_.reserve(body_table_offset + body * sizeof(body_entry), sizeof(body_entry));
  body_entry& e = memory_.body(body);
  e.sequence.store(no_sequence, std::memory_order_relaxed);
  e.writer.store(0, std::memory_order_relaxed);
  e.move_to(body_class, c.body_count[body_class]);
  e.reserved = 0;
  e.next = 0;
  ++c.body_count[body_class];
  c.bodies_used = body + 1;
  return body;
}

// A free body of a smaller class becomes one of this class; so no class is visited twice, and indices suffice. Killed at
// any point, the body is of the one class or of the other, with no page that it does not have.
u32 bodies::move_smaller(u32 body_class) {
  control& c = memory_.head();
  if (is_full(body_class)) return none;
  for (u32 smaller = body_class; smaller-- > first_body_class;) {
    const u32 body = take_free(smaller);
    if (body == none) continue;
    body_entry& e = memory_.body(body);
    const u64 had = std::exchange(e.reserved, 0);
    c.body_bytes -= std::min(c.body_bytes.load(), had);
    memory_.release(body_offset(smaller, e.index()), u64{1} << smaller);
    const u32 index = c.body_count[body_class]++;  // first: never is one index given to two
    e.move_to(body_class, index);
    return body;
  }
  return none;
}

u32 bodies::acquire(u64 size, u64 head_sequence, u64 most_bytes) {
  control& c = memory_.head();
  reclaim(head_sequence);
  const u64 need = pages(size);
  if (c.body_bytes != 0 && c.body_bytes + need > most_bytes) return none;
  const auto body_class = std::max(first_body_class, static_cast<u32>(std::bit_width(size - 1)));
  u32 body = take_free(body_class);
  if (body == none) body = fresh(body_class);
  for (u32 larger = body_class + 1; body == none && larger <= last_body_class; ++larger) body = take_free(larger);
  if (body == none) body = move_smaller(body_class);
  if (body == none) return none;
  body_entry& e = memory_.body(body);
  if (e.reserved < need) {
    try {
      memory_.reserve(body_offset(e.body_class(), e.index()), need);
    } catch (...) {
      to_free(body);
      throw;
    }
    c.body_bytes += need - e.reserved;
    e.reserved = need;
  }
  e.next = 0;
  e.writer.store(presence_.self(), std::memory_order_release);
  return body;
}

void bodies::own(u32 body, u64 sequence) noexcept {
  control& c = memory_.head();
  body_entry& e = memory_.body(body);
  e.sequence.store(sequence, std::memory_order_relaxed);
  e.writer.store(0, std::memory_order_release);
  e.next = 0;
  if (c.body_fifo_last != 0 && c.body_fifo_last <= used())
    memory_.body(c.body_fifo_last - 1).next = body + 1;
  else
    c.body_fifo_first = body + 1;
  c.body_fifo_last = body + 1;
}

void bodies::abandon(u32 body) noexcept { to_free(body); }

void bodies::rebuild(u64 head_sequence) {
  control& c = memory_.head();
  c.body_fifo_first = c.body_fifo_last = c.body_limbo = 0;
  c.body_bytes = 0;
  c.idle_bytes = 0;
  for (u32& link : c.body_free) link = 0;
  std::vector<std::pair<u64, u32>> owned;
  for (u32 body = 0; body < used(); ++body) {
    u32 steps = 0;
    body_entry& e = checked(body + 1, steps);
    if (in_use(e, head_sequence)) {
      c.body_bytes += e.reserved;
      // A body that is being filled is in no list until its writer owns or abandons it.
      if (e.writer.load(std::memory_order_relaxed) == 0 || presence_.is_dead(e.writer.load(std::memory_order_relaxed)))
        owned.emplace_back(e.sequence.load(std::memory_order_relaxed), body);
    } else {
      c.body_bytes += e.reserved;
      to_free(body);
    }
  }
  std::sort(owned.begin(), owned.end());
  for (const auto& [sequence, body] : owned) own(body, sequence);
}

}  // namespace mp::ring
