// How a client of a socket queue asks: a request, its answer, and how a request that waits is called off.
// Must never wait for an answer inside an async operation: two processes whose I/O threads ask each other would stop. Must
// end at its limit although the maker is stopped.
// Decision 0006.

#include "channel/io_thread.hpp"
#include "channel/socket_client.hpp"
#include "mp/error.hpp"
#include "os/proc.hpp"

#include <poll.h>
#include <algorithm>
#include <cerrno>
#include <string>

namespace mp::sock {
namespace {

// How long an answer is waited for where nothing else is: a maker that runs answers in microseconds, also under load.
constexpr std::chrono::seconds answer_limit{1};
// On the I/O thread, where the maker may in turn be waiting for us.
constexpr std::chrono::milliseconds io_limit{500};
// After a deadline, for the answer that says whether it came in time.
constexpr std::chrono::milliseconds last_words{100};
// How often a maker that says nothing is looked at: first soon, because it may have been stopped for long.
constexpr std::chrono::milliseconds first_look{1}, later_looks{20};

time_point in(std::chrono::milliseconds limit) { return std::chrono::steady_clock::now() + limit; }

// What need not be done when nobody waits for it any more.
bool can_be_called_off(verb what) {
  return what == verb::put || what == verb::get || what == verb::join || what == verb::take_lost;
}

}  // namespace

// Waits for `events`. Where time is over but for the maker's word (`is_over`), a maker that is stopped is not waited for.
bool client_channel::can_wait(int fd, short events, time_point until, bool is_over) const {
  if (!is_over) return wait_for(fd, events, until);
  for (auto slice = first_look;; slice = later_looks) {
    const auto end = in(slice);
    if (wait_for(fd, events, std::min(until, end))) return true;
    if (until <= end || os::is_stopped(maker_)) return false;
  }
}

// The maker may do the last request yet, or have done it: whatever it took goes back, and its answer is dropped.
void client_channel::give_up(line& l) const {
  note n = request(verb::cancel);
  n.flag = 1;
  n.value = l.number;
  l.owed = send(l.socket.get(), pack(n)) == EAGAIN ? l.number : 0;
}

client_channel::reply client_channel::ask(line& l, parcel&& p, time_point until, received_packet& answer) const {
  const int fd = l.socket.get();
  const bool can_call_off = can_be_called_off(p.head.what);
  bool is_over = until <= std::chrono::steady_clock::now();
  if (is_over && can_call_off) p.head.flag = 0;
  time_point limit = !is_over ? until : in(detail::on_io_thread() ? io_limit : answer_limit);
  const auto out_of_time = [&](reply which) {
    if (detail::on_io_thread() && !os::is_stopped(maker_))
      detail::throw_error(errc::would_deadlock,
                          "queue: its maker does not answer, and this is the I/O thread, which must not wait");
    return which;
  };
  while (l.owed != 0) {
    give_up(l);
    if (l.owed != 0 && !can_wait(fd, POLLOUT, limit, is_over)) return out_of_time(reply::unsent);
  }
  p.number = l.number + 1;
  for (int err; (err = send(fd, p)) != 0;) {
    if (err == EPIPE) return reply::gone;
    if (!can_wait(fd, POLLOUT, limit, is_over)) return out_of_time(reply::unsent);
  }
  ++l.number;
  for (;;) {
    if (can_wait(fd, POLLIN, limit, is_over)) {
      const receipt r = receive(fd, answer);
      if (r == receipt::end) return reply::gone;
      if (r == receipt::packet && answer.head.what != verb::answer)
        detail::throw_error(errc::bad_frame, "queue: what its maker sent is no answer");
      if (r == receipt::packet && answer.number == l.number) return reply::answered;
      continue;  // an answer that nobody waits for any more
    }
    if (is_over) {
      if (can_call_off) give_up(l);
      return out_of_time(reply::late);
    }
    // Time is up: the request is called off, and its answer says whether that came too late.
    is_over = true;
    limit = in(last_words);
    if (can_call_off && send(fd, pack(request(verb::cancel))) == EPIPE) return reply::gone;
  }
}

client_channel::reply client_channel::ask_now(const note& n, received_packet& answer) const {
  return ask(my_line(), pack(n), time_point::min(), answer);
}

void client_channel::throw_silent(const char* verb) const {
  detail::throw_error(errc::deadline_exceeded, std::string("queue: ") + verb + ": process " + std::to_string(maker_) +
                                                   ", which made it, does not answer: is it stopped?");
}

void client_channel::throw_maker_ended(const char* verb) const {
  detail::throw_error(errc::closed, std::string("queue: ") + verb + ": process " + std::to_string(maker_) +
                                        ", which made it, has ended");
}

}  // namespace mp::sock
