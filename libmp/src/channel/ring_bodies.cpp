// Large messages' memory. Must never recycle bytes that a consumer, alive or dead, still has in hand.

#include "channel/ring_bodies.hpp"

#include "mp/error.hpp"

#include <algorithm>
#include <bit>
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
  const u32 k = e.body_class;
  const bool fits =
      k >= first_body_class && k <= last_body_class && e.index < body_region_bytes >> k && e.reserved <= u64{1} << k;
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
    memory_.release(body_offset(e.body_class, e.index), e.reserved);
    e.reserved = 0;
  }
  c.idle_bytes += e.reserved;
  e.sequence.store(no_sequence, std::memory_order_relaxed);
  e.writer.store(0, std::memory_order_relaxed);
  e.next = c.body_free[e.body_class];
  c.body_free[e.body_class] = body + 1;
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

u32 bodies::fresh(u32 body_class) {
  control& c = memory_.head();
  if (c.bodies_used >= max_bodies ||
      body_offset(body_class, c.body_count[body_class] + 1) > body_offset(body_class + 1, 0))
    return none;
  const u32 body = c.bodies_used;
  if (body * sizeof(body_entry) % page_bytes == 0)
    memory_.reserve(body_table_offset + body * sizeof(body_entry), sizeof(body_entry));
  body_entry& e = memory_.body(body);
  e.sequence.store(no_sequence, std::memory_order_relaxed);
  e.writer.store(0, std::memory_order_relaxed);
  e.body_class = body_class;
  e.index = c.body_count[body_class];
  e.reserved = 0;
  e.next = 0;
  ++c.body_count[body_class];
  c.bodies_used = body + 1;
  return body;
}

u32 bodies::acquire(u64 size, u64 head_sequence, u64 most_bytes) {
  control& c = memory_.head();
  reclaim(head_sequence);
  const u64 need = pages(size);
  if (c.body_bytes != 0 && c.body_bytes + need > most_bytes) return none;
  const auto body_class = std::max(first_body_class, static_cast<u32>(std::bit_width(size - 1)));
  u32 body;
  if (const u32 link = c.body_free[body_class]) {
    body = link - 1;
    u32 steps = 0;
    body_entry& e = checked(link, steps);
    if (e.body_class != body_class) damaged(c, "a list of large messages is torn");
    if (e.reserved < need) memory_.reserve(body_offset(body_class, e.index), need);
    c.body_free[body_class] = e.next;
    c.idle_bytes -= std::min(c.idle_bytes, e.reserved);
  } else {
    body = fresh(body_class);
    if (body == none) return none;
    body_entry& e = memory_.body(body);
    try {
      memory_.reserve(body_offset(body_class, e.index), need);
    } catch (...) {
      to_free(body);
      throw;
    }
  }
  body_entry& e = memory_.body(body);
  e.reserved = std::max(e.reserved, need);
  c.body_bytes += e.reserved;
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
