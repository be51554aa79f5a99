// Getting: a pipe's item is decoded where it lies. Waiting for items, of either kind. A queue's: ring_get_queue.cpp.

#include "channel/ring_channel.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace mp::ring {
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
  if (!is_ours()) [[unlikely]]
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

// Who follows a writer closely looks at `tail` after every few messages, and each look takes its line from the writer,
// which waits for it at its next commit. So after a small batch the writer is let alone for a moment, which makes a larger
// one. Single messages, a question and its answer say, never wait.
inline void ring_channel::follow(u64 last_batch) noexcept {
  constexpr u32 turns = 16, small = 64;
  if (last_batch >= 2 && last_batch < small)
    for (u32 i = 0; i < turns; ++i) os::relax();
}

// A pipe's next small message, right behind the last one. False: look the slow way.
inline bool ring_channel::get_fast(deliver fn, void* context) {
  control& c = *fast_;
  auto& at = get_cursor_;
  if (at.head == at.tail_seen) {
    if (at.left == 0) return false;
    follow(at.batch);
    at.tail_seen = c.tail.load(std::memory_order_acquire);
    at.batch = distance(at.head, at.tail_seen);
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

// -- waiting ---------------------------------------------------------------------------------------------------------

bool ring_channel::get_ended(role as, u32 own_cell) const {
  const control& c = shared();
  (void)as;
  if (c.shut.load(std::memory_order_acquire)) {
    // what is in a live consumer's hand may come back
  } else {
    if (senders_.load(std::memory_order_acquire) > 0) return false;
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

// Of a stream each item would be fetched on its own: the line of `tail` would travel forth and back for every item, and
// the writer wait for it. A reader that again and again finds the next item at once first leaves the writer alone for
// about a microsecond. If that brought no batch, the two are in step (a question and its answer, say), and it is tried
// ever more rarely.
bool ring_channel::spin_for_item(time_point until) {
  constexpr u32 turns = 64, at_once = 4, batch = 3, most_patience = 1 << 16;
  const u32 streak = streak_.load(std::memory_order_relaxed);
  if (streak >= patience_.load(std::memory_order_relaxed)) {
    for (u32 i = 0; i < turns; ++i) os::relax();
    control& c = shared();
    const u64 items = distance(c.head.load(std::memory_order_relaxed), c.tail.load(std::memory_order_acquire));
    if (items < batch) {
      streak_.store(0, std::memory_order_relaxed);
      patience_.store(std::min(2 * patience_.load(std::memory_order_relaxed), most_patience),
                      std::memory_order_relaxed);
    } else {
      patience_.store(first_patience, std::memory_order_relaxed);
    }
    if (items > 0) return true;
  }
  u32 looks = 0;
  const auto there = [&] {
    ++looks;
    return !is_empty();
  };
  const bool found = spin(there, shared().put_cpu, until);
  streak_.store(found && looks <= at_once ? streak + 1 : 0, std::memory_order_relaxed);
  return found;
}

op_status ring_channel::wait_for_item(role as, time_point until, u32 own_cell) {
  control& c = shared();
  const u32 departures = c.departures.load(std::memory_order_acquire);
  const auto worth_a_try = [&] {
    return !is_empty() || c.shut.load(std::memory_order_relaxed) ||
           c.departures.load(std::memory_order_relaxed) != departures;
  };
  const u32 cpu = where_we_run();
  if (c.get_cpu.load(std::memory_order_relaxed) != cpu) c.get_cpu.store(cpu, std::memory_order_relaxed);
  if (until > time_point::min() && spin_for_item(until)) return op_status::ok;
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
    sleep(c, c.getters, is_pipe() ? c.put_cpu.load(std::memory_order_relaxed) : 0, worth_a_try, until);
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

// -- descriptors -----------------------------------------------------------------------------------------------------

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
