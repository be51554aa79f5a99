// Polling, and what can be seen without taking. A byte in the socket is the level that says "look". Raised after a
// commit, cleared only when the side is not ready, then looked at again: a bell that is cleared late can never swallow a
// newer item.

#include "channel/ring_channel.hpp"

#include <sys/socket.h>

namespace mp::ring {

void ring_channel::ring_bell(side s) noexcept {
  sleepers& whose = s == side::get ? shared().getters : shared().putters;
  const os::guarded_fd& out = s == side::get ? put_socket_ : get_socket_;
  if (!out || whose.bell.exchange(1, std::memory_order_seq_cst) != 0) return;
  const char byte = 1;
  // A full socket is readable as well.
  ::send(out.get(), &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void ring_channel::clear_bell(side s) noexcept {
  control& c = shared();
  sleepers& whose = s == side::get ? c.getters : c.putters;
  const int in = s == side::get ? get_socket_.get() : put_socket_.get();
  // The mark first: killed after the byte is gone and before the mark, nobody would ever ring again.
  whose.bell.store(0, std::memory_order_seq_cst);
  for (;;) {
    u64 message = 0;
    const ssize_t n = ::recv(in, &message, sizeof message, MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0) return;
    if (n == 1) {
      ::recv(in, &message, sizeof message, MSG_DONTWAIT);
      continue;
    }
    // Descriptors in front of an empty channel: their put is under way, or its producer died before the commit.
    if (s == side::put || is_pipe() || !is_empty() || !try_acquire(c.put_lock, presence_)) return;
    if (is_empty()) ::recv(in, &message, sizeof message, MSG_DONTWAIT);
    release(c.put_lock);
  }
}

bool ring_channel::ready(role as, side s) {
  check_process();
  if (s == side::get) return !is_empty() || (get_ended(as, my_cell().cell)) || my_cell().given < my_cell().count;
  return has_room() || put_ended(as);
}

bool ring_channel::prepare_poll(role as, side s) {
  check_process();
  control& c = shared();
  sleepers& whose = s == side::get ? c.getters : c.putters;
  whose.polled.store(1, std::memory_order_seq_cst);
  if (ready(as, s)) return true;
  if (s == side::get && !is_pipe()) {
    // Several processes clear the same bell: one at a time, and only what no item rang. While the owner of the lock does
    // not come to leave it, the bell stays as it is: a byte that lies there says "look", at worst in vain.
    if (lock_get(std::chrono::steady_clock::now() + os::sleep_slice)) {
      if (is_empty()) clear_bell(s);
      release(c.get_lock);
    }
  } else if (!(s == side::get && !is_empty())) {
    clear_bell(s);
  }
  sleeper_barrier(c);  // pairs with light_barrier of after_put and after_get
  return ready(as, s);
}

std::size_t ring_channel::size() const {
  check_process();
  const control& c = shared();
  for (int i = 0; i < 100; ++i) {
    const position before = c.head.load(std::memory_order_acquire);
    const position tail = c.tail.load(std::memory_order_acquire);
    if (c.head.load(std::memory_order_acquire) == before) return distance(before, tail);
  }
  const u64 n = distance(c.head.load(), c.tail.load());
  return n > count_mask / 2 ? 0 : n;  // the readers ran past what we saw of the writers
}

bool ring_channel::full() const {
  check_process();
  return !has_room();
}

}  // namespace mp::ring
