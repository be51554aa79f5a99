// Putting. Must encode before a lock is taken, and must have taken nothing from the caller when it does not return ok.

#include "channel/ring_channel.hpp"
#include "channel/ring_mutants.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace mp::ring {
namespace {

/// How often a put that does not wait looks whether anybody is left: 0.3 us each 256 puts.
constexpr u32 puts_per_look = 256;

}  // namespace

// Threads that put at once may lose a count: it is only about how often.
inline bool ring_channel::time_to_look() noexcept {
  const u32 puts = puts_since_look_.load(std::memory_order_relaxed) + 1;
  puts_since_look_.store(puts, std::memory_order_relaxed);
  return puts >= puts_per_look;
}

op_status ring_channel::put(role as, const outgoing& m, time_point until) {
  if (put_fast(m)) return op_status::ok;
  const op_status s = put_slow(as, m, until);
  return s == op_status::busy ? op_status::timed_out : s;
}

op_status ring_channel::put_now(role as, const outgoing& m) {
  return put_fast(m) ? op_status::ok : put_slow(as, m, time_point::min());
}

op_status ring_channel::put_slow(role as, const outgoing& m, time_point until) {
  check_process();
  if (m.size > max_message)
    detail::throw_error(errc::too_large,
                        "a message of " + std::to_string(m.size) + " bytes: at most 4 GiB travel at once");
  if (m.fds.size() > os::max_fds_per_message)
    detail::throw_error(errc::too_large,
                        "a message with " + std::to_string(m.fds.size()) + " descriptors: at most 253 travel at once");
  if (shared().shut.load(std::memory_order_relaxed)) return op_status::closed;
  if (time_to_look()) {
    puts_since_look_.store(0, std::memory_order_relaxed);
    if (put_ended(as) && !(as == role::whole && has_room())) return how_put_ended();
  } else if (is_pipe() && shared().reader_left.load(std::memory_order_relaxed)) {
    return how_put_ended();
  }
  return m.size <= inline_most ? put_small(as, m, until) : put_body(as, m, until);
}

u64 ring_channel::log_limit() const noexcept {
  const control& c = shared();
  const u64 left = c.max_bytes > c.body_bytes ? c.max_bytes - c.body_bytes : 0;
  return std::max<u64>(std::min(left, c.max_log_bytes), base_extents * extent_bytes);
}

bool ring_channel::lock_put(time_point until) {
  switch (acquire(shared().put_lock, presence_, until)) {
    case lock_result::locked: return true;
    case lock_result::timed_out: return false;
    case lock_result::taken_over: break;
  }
  // The dead owner's message is invisible (or whole); only the derived lists may be torn.
  if (has(mistake::untidy_take_over)) return true;
  try {
    writer_.rebuild();
    bodies_.rebuild(head_sequence());
  } catch (...) {
    // The lists are still torn. The lock stays with nobody who lives: whoever comes next takes it over and tries again.
    shared().put_lock.store(nobody_alive, std::memory_order_release);
    throw;
  }
  return true;
}

bool ring_channel::count_has_room() const noexcept {
  const control& c = shared();
  return c.maxsize == 0 ||
         distance(c.head.load(std::memory_order_acquire), c.tail.load(std::memory_order_relaxed)) < c.maxsize;
}

// The same for whoever puts: under the lock, or as a pipe's one writer.
bool ring_channel::takes_one_more() noexcept {
  control& c = shared();
  if (c.maxsize == 0) return true;
  const position tail = c.tail.load(std::memory_order_relaxed);
  if (distance(c.head_seen, tail) < c.maxsize) return true;
  c.head_seen = c.head.load(std::memory_order_acquire);
  return distance(c.head_seen, tail) < c.maxsize;
}

bool ring_channel::has_room() const noexcept {
  const control& c = shared();
  if (!count_has_room()) return false;
  const u32 writer = extent_of(c.tail.load(std::memory_order_relaxed));
  const u32 reader = extent_of(c.head.load(std::memory_order_acquire));
  if (writer >= max_extents) return true;  // the put itself says what is wrong
  return memory_.next(writer).load(std::memory_order_relaxed) != reader ||
         (c.circle_extents + 1) * extent_bytes <= log_limit();
}

bool ring_channel::send_fds(std::span<const unique_fd> fds, u64 nonce) {
  std::array<int, os::max_fds_per_message> raw;
  for (std::size_t i = 0; i < fds.size(); ++i) raw[i] = fds[i].get();
  const ssize_t sent = os::send_with_fds(put_socket_.get(), std::as_bytes(std::span(&nonce, 1)),
                                         std::span<const int>(raw.data(), fds.size()), MSG_DONTWAIT);
  if (sent >= 0) return true;
  if (sent == -EAGAIN || sent == -ENOBUFS || sent == -ETOOMANYREFS)
    return false;                                          // too many on their way: wait for room
  if (sent == -EPIPE || sent == -ECONNRESET) return true;  // nobody can get it any more; the next look says so
  detail::throw_system_error(errc::out_of_resources, "cannot send descriptors", static_cast<int>(-sent));
}

// A pipe's next small message, where the last one ended: no look at anything that the reader writes but its flags.
inline bool ring_channel::put_fast(const outgoing& m) {
  const u64 total = sizeof(record_header) + padded(m.size);
  control& c = *fast_;
  if (total > put_cursor_.left || m.bytes.size() != m.size || m.size - 1 >= inline_most || !m.fds.empty()) return false;
  if (!is_ours() || time_to_look()) return false;
  if (c.shut.load(std::memory_order_relaxed) | c.reader_left.load(std::memory_order_relaxed)) return false;
  const record_header header{static_cast<u32>(m.size), record_kind::small, 0, record_mark};
  if (has(mistake::pipe_before_payload)) c.tail.store(put_cursor_.tail + ((total >> 3) << count_bits | 1));
  std::memcpy(put_cursor_.at, &header, sizeof header);
  std::memcpy(put_cursor_.at + sizeof header, m.bytes.data(), m.size);
  put_cursor_.at += total;
  os::fetch_to_write(put_cursor_.at + fetch_ahead);
  put_cursor_.left -= total;
  put_cursor_.tail += (total >> 3) << count_bits | 1;
  c.tail.store(put_cursor_.tail, std::memory_order_release);
  tell_getters(c);
  return true;
}

// After a commit the slow way: where the fast way goes on.
void ring_channel::place_put_cursor(position tail) noexcept {
  if (!is_pipe()) return;
  put_cursor_ = {};
  const control& c = shared();
  // Left alone: item bounds (they need the reader's count) and the moment when the count wraps into the offset.
  if (c.maxsize != 0 || count_mask - count_of(tail) <= extent_bytes / sizeof(record_header)) return;
  put_cursor_ = {writer_.at(offset_of(tail)), extent_bytes - offset_of(tail) % extent_bytes - sizeof(record_header),
                 tail};
}

// Writes and commits one record if there is room. The caller holds the put lock, or is a pipe's one writer.
bool ring_channel::try_commit(const outgoing& m, std::span<const std::byte> bytes, const body_ref* body,
                              bool& short_of_fds) {
  control& c = shared();
  if (!takes_one_more()) return false;
  const std::size_t front = sizeof(record_header) + (m.fds.empty() ? 0 : sizeof(fd_prefix));
  const u64 total = front + padded(body ? sizeof *body : m.size);
  const room r = writer_.find(total, log_limit());
  if (!r.at) return false;
  const position tail = c.tail.load(std::memory_order_relaxed);
  const position after = make_position(r.offset + total, count_of(tail) + 1);
  record_header header{static_cast<u32>(body ? 0 : m.size), body ? record_kind::body : record_kind::small, 0,
                       record_mark};
  if (!m.fds.empty()) [[unlikely]] {
    // The counts may drift when somebody is killed beside a commit; an empty channel has nothing pending.
    if (c.head.load(std::memory_order_acquire) == tail) c.fds_put.store(c.fds_got.load());
    const auto pending = static_cast<std::int32_t>(c.fds_put.load() - c.fds_got.load());
    if (pending >= static_cast<std::int32_t>(max_pending_fds) || !send_fds(m.fds, ++c.nonce)) {
      short_of_fds = true;
      return false;
    }
    header.flags = with_fds;
    const fd_prefix prefix{c.nonce, static_cast<u32>(m.fds.size()), 0};
    std::memcpy(r.at + sizeof header, &prefix, sizeof prefix);
  }
  if (has(mistake::tail_before_payload)) writer_.commit(after);
  os::fetch_to_write(r.at + total + fetch_ahead);
  std::memcpy(r.at, &header, sizeof header);
  if (body) {
    std::memcpy(r.at + front, body, sizeof *body);
    if (has(mistake::own_after_tail)) writer_.commit(after);
    bodies_.own(body->body, extend(count_of(tail), c.put_sequence));
  } else if (!bytes.empty()) {
    std::memcpy(r.at + front, bytes.data(), bytes.size());
  } else if (m.size != 0) {
    m.write(m.context, {r.at + front, m.size});
  }
  writer_.commit(after);
  c.put_sequence = extend(count_of(tail), c.put_sequence) + 1;
  if (!m.fds.empty()) [[unlikely]]
    c.fds_put.fetch_add(1, std::memory_order_relaxed);
  place_put_cursor(after);
  return true;
}

op_status ring_channel::put_small(role as, const outgoing& m, time_point until) {
  control& c = shared();
  std::array<std::byte, inline_most> scratch;
  std::span<const std::byte> bytes = m.bytes;
  if (!is_pipe() && m.size != 0 && bytes.empty()) {
    m.write(m.context, {scratch.data(), m.size});
    bytes = {scratch.data(), m.size};
  }
  for (bool waited = false;; waited = true) {
    const position head = m.fds.empty() ? position{} : c.head.load(std::memory_order_relaxed);
    bool short_of_fds = false, done;
    if (is_pipe()) {
      done = try_commit(m, bytes, nullptr, short_of_fds);
    } else {
      if (!lock_put(until)) return op_status::busy;
      const release_on_exit guard{&c.put_lock};
      if (c.shut.load(std::memory_order_relaxed)) return op_status::closed;
      done = try_commit(m, bytes, nullptr, short_of_fds);
    }
    if (done) {
      after_put();
      if (waited && !is_pipe() && has_room()) wake_next(c.putters);
      return op_status::ok;
    }
    if (const op_status s = wait_for_room(as, until, head, short_of_fds); s != op_status::ok) return s;
  }
}

op_status ring_channel::put_body(role as, const outgoing& m, time_point until) {
  control& c = shared();
  const u64 most = c.max_bytes;
  u32 body = bodies::none;
  const auto abandon = [&]() noexcept {
    try {
      if (lock_put(std::chrono::steady_clock::now() + os::sleep_slice)) {
        const release_on_exit guard{&c.put_lock};
        return bodies_.abandon(body);
      }
    } catch (...) {
    }
    memory_.body(body).writer.store(0, std::memory_order_release);  // in no list: the next rebuild finds it
  };
  for (;;) {
    const position head = c.head.load(std::memory_order_relaxed);
    if (!lock_put(until)) return op_status::busy;
    {
      const release_on_exit guard{&c.put_lock};
      body = bodies_.acquire(m.size, head_sequence(), most);
      if (body == bodies::none) {
        // A writer that died while it filled a body left it in no list.
        bodies_.rebuild(head_sequence());
        body = bodies_.acquire(m.size, head_sequence(), most);
      }
    }
    if (body != bodies::none) break;
    if (const op_status s = wait_for_room(as, until, head, true); s != op_status::ok) return s;
  }
  try {
    const std::span<std::byte> at{memory_.body_bytes(memory_.body(body)), m.size};
    if (m.bytes.empty())
      m.write(m.context, at);
    else
      std::memcpy(at.data(), m.bytes.data(), m.bytes.size());
    const body_ref ref{m.size, body, 0};
    for (;;) {
      const position head = c.head.load(std::memory_order_relaxed);
      bool short_of_fds = false, done = false;
      op_status s = op_status::busy;
      if (lock_put(until)) {
        const release_on_exit guard{&c.put_lock};
        if (c.shut.load(std::memory_order_relaxed))
          s = op_status::closed;
        else if (!(done = try_commit(m, {}, &ref, short_of_fds)))
          s = op_status::ok;
      }
      if (done) {
        after_put();
        return op_status::ok;
      }
      if (s == op_status::ok) s = wait_for_room(as, until, head, short_of_fds);
      if (s != op_status::ok) {
        abandon();
        return s;
      }
    }
  } catch (...) {
    abandon();
    throw;
  }
}

void ring_channel::after_put() noexcept {
  control& c = shared();
  const u32 cpu = where_we_run();
  if (c.put_cpu.load(std::memory_order_relaxed) != cpu) c.put_cpu.store(cpu, std::memory_order_relaxed);
  tell_getters(c);
}

inline void ring_channel::tell_getters(control& c) noexcept {
  light_barrier(c);
  if (c.getters.flag.load(std::memory_order_relaxed)) [[unlikely]]
    wake_one(c.getters);
  if (c.getters.polled.load(std::memory_order_relaxed)) [[unlikely]]
    ring_bell(side::get);
}

bool ring_channel::put_ended(role as) const noexcept {
  const control& c = shared();
  if (c.shut.load(std::memory_order_acquire)) return true;
  if (receivers_.load(std::memory_order_acquire) > 0) return false;
  if (!is_pipe()) {
    const bool whole_here = wholes_.load(std::memory_order_relaxed) + whole_gets_.load(std::memory_order_relaxed) > 0;
    if (whole_here && !c.shared.load(std::memory_order_relaxed)) return false;
    if (as == role::sender && whole_here) return false;
  }
  return !presence_.others_hold(get_presence);
}

op_status ring_channel::how_put_ended() const noexcept {
  const control& c = shared();
  return !is_pipe() || c.shut.load(std::memory_order_acquire) || c.reader_left.load(std::memory_order_acquire)
             ? op_status::closed
             : op_status::peer_died;
}

// Waits until it makes sense to try again. `any_progress`: any move of the reader counts (bodies, descriptors), else
// there must be room in the log.
op_status ring_channel::wait_for_room(role as, time_point until, position seen_head, bool any_progress) {
  control& c = shared();
  const u32 departures = c.departures.load(std::memory_order_acquire);
  const auto worth_a_try = [&] {
    if (c.departures.load(std::memory_order_relaxed) != departures) return true;
    if (c.shut.load(std::memory_order_relaxed) || (is_pipe() && c.reader_left.load(std::memory_order_relaxed)))
      return true;
    return any_progress ? c.head.load(std::memory_order_relaxed) != seen_head : has_room();
  };
  // An end is looked for before time: a put that can never succeed says so.
  const auto now = std::chrono::steady_clock::now();
  if (until <= now || !put_look_.is_good(departures, now)) {
    if (put_ended(as)) return how_put_ended();
    put_look_.note(departures, now);
  }
  if (worth_a_try()) return op_status::ok;
  if (until <= now) return op_status::timed_out;
  if (spin(worth_a_try, c.get_cpu, until)) return op_status::ok;
  sleep(c, c.putters, is_pipe() ? c.get_cpu.load(std::memory_order_relaxed) : 0, worth_a_try, until);
  if (!worth_a_try()) put_look_.forget();
  // Also when nothing seems to have changed: a reader that died, or bodies that a dead consumer had, change nothing
  // here.
  return op_status::ok;
}

}  // namespace mp::ring
