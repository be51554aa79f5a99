// How a client of a socket queue is polled, and its async forms, which never wait for an answer.
// Must never ask and wait inside an async operation: two processes whose I/O threads ask each other would stop.
// Decision 0006.

#include "channel/io_thread.hpp"
#include "channel/socket_client.hpp"

#include <cerrno>
#include <utility>

namespace mp::sock {

// The async forms come back when the descriptor that poll_fd names is readable: first the request goes out, a later
// call finds the answer. An answer whose operation was cancelled meanwhile: an item goes to the next one.
op_status client_channel::put_async(const outgoing& out, role as) {
  line& l = async_line(side::put);
  const int fd = l.socket.get();
  const void* const me = detail::current_operation();
  received_packet answer;
  if (l.outstanding) {
    const receipt r = receive(fd, answer);
    if (r == receipt::end) return op_status::closed;
    if (r == receipt::nothing) return op_status::timed_out;
    l.outstanding = false;
    if (l.asked_by == me) return static_cast<op_status>(answer.head.status);
  }
  if (const int err = send(fd, pack(request(verb::put, as), out)); err != 0)
    return err == EPIPE ? op_status::closed : op_status::timed_out;
  l.outstanding = true;
  l.asked_by = me;
  return op_status::timed_out;
}

op_status client_channel::get_async(deliver fn, void* context, std::size_t& taken) {
  line& l = async_line(side::get);
  const int fd = l.socket.get();
  if (!l.outstanding) {
    if (send(fd, pack(request(verb::get))) == EPIPE) return op_status::closed;
    l.outstanding = true;
    return op_status::timed_out;
  }
  received_packet answer;
  const receipt r = receive(fd, answer);
  if (r == receipt::end) return op_status::closed;
  if (r == receipt::nothing) return op_status::timed_out;
  l.outstanding = false;
  const auto status = static_cast<op_status>(answer.head.status);
  if (status != op_status::ok) return status;
  ++taken;
  fn(context, detail::incoming{answer.body, std::move(answer.fds), answer.head.value});
  return op_status::ok;
}

bool client_channel::ready(role as, side which) {
  if (detail::current_operation()) return true;  // put_async and get_async find out
  note n = request(verb::ready, as);
  n.value = static_cast<std::uint64_t>(which);
  received_packet answer;
  const reply r = ask_now(n, answer);
  return r == reply::gone || (r == reply::answered && answer.head.flag != 0);
}

// Asks to be told; true: it was told already, or the maker has ended.
bool client_channel::watch(role as, side which) {
  check();
  const std::lock_guard lock(mutex_);
  line& l = lazy(watch_[static_cast<std::size_t>(which)]);
  const int fd = l.socket.get();
  received_packet told;
  bool yes = false;
  for (receipt r; (r = receive(fd, told)) != receipt::nothing;) {
    if (r == receipt::end) return true;
    yes = true;
    l.outstanding = false;
  }
  if (!std::exchange(l.outstanding, true)) {
    note n = request(verb::watch, as);
    n.value = static_cast<std::uint64_t>(which);
    if (send(fd, pack(n)) == EPIPE) return true;
  }
  return yes;
}

bool client_channel::prepare_poll(role as, side which) {
  if (detail::current_operation()) {
    const auto& l = async_[static_cast<std::size_t>(which)];
    if (l && l->outstanding) return false;  // its answer is what to wait for
    return watch(as, which);
  }
  watch(as, which);
  return ready(as, which);
}

int client_channel::poll_fd(side which) {
  const auto i = static_cast<std::size_t>(which);
  if (detail::current_operation() && async_[i] && async_[i]->outstanding) return async_[i]->socket.get();
  const std::lock_guard lock(mutex_);
  return lazy(watch_[i]).socket.get();
}

}  // namespace mp::sock
