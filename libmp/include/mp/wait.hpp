#pragma once
/// @file
/// Waiting for several things at once: connections, pipe ends, queues, processes, futures, plain descriptors.
///
/// Model:    Python's multiprocessing.connection.wait, poll(2); different: positions come back, not objects.
/// Shape:    ready means that a get would not wait *now*; another consumer may be faster, so follow with try_get.
/// Threads:  free functions.         Processes: -
/// Death:    the end of a channel counts as ready: the get that follows throws it.
/// Source:   doc/decisions/0006-channels.md.

#include "mp/detail/channel.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/detail/waitable.hpp"
#include "mp/duration.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

namespace mp {

class process;
class connection;
template <class T>
concept gets_from_channel = requires(const T& t) {
  t.try_get();
  t.begin();
};

template <class T>
concept has_answer = requires(const T& t) {
  { t.get_pollable() } -> std::same_as<detail::pollable&>;
};

/// One thing to wait for: borrows its object for the length of one wait.
///
/// Threads:  a value.   Processes: process-bound.
class waitable {
public:
  /// A descriptor: readable, or at its end.
  waitable(int fd) noexcept : fd_(fd) {}
  /// A message, or the end, is there. Throws: error{closed} if this end is closed.
  waitable(const connection&);
  /// The process has ended. Throws: error{not_started}.
  template <std::same_as<process> P>
  waitable(const P& p) : waitable(p.sentinel()) {}
  /// A queue, joinable_queue, receiver or duplex_end: an item, or the end, is there. Throws: error{closed} if the
  /// handle is closed.
  template <gets_from_channel C>
  waitable(const C& c) : channel_(&c.get_side().open(C::noun, "wait")), as_(c.get_side().as()) {}

  /// A future: its answer is there. Throws: error{closed} if it is not valid.
  template <has_answer F>
  waitable(const F& f) : answer_(&f.get_pollable()) {}

  /// The parts, for wait itself: a channel and the role in it, a future's state, or a descriptor.
  detail::channel* channel() const noexcept { return channel_; }
  detail::role as() const noexcept { return as_; }
  detail::pollable* answer() const noexcept { return answer_; }
  int fd() const noexcept { return fd_; }

private:
  detail::channel* channel_ = nullptr;
  detail::pollable* answer_ = nullptr;
  detail::role as_ = detail::role::whole;
  int fd_ = -1;
};

/// The positions of all that are ready, ascending, never empty.
///
/// Waits:    until something is ready.
/// Throws:   error{invalid_argument}: a number that is no open descriptor, or nothing to wait for;
///           error{would_deadlock} on the I/O thread.
std::vector<std::size_t> wait(std::span<const waitable>);
/// Empty: time is up.
///
/// Waits:    at most `limit`.
/// Throws:   as wait.
std::vector<std::size_t> wait_for(duration limit, std::span<const waitable>);
/// Waits:    until `when`.
/// Throws:   as wait.
std::vector<std::size_t> wait_until(time_point when, std::span<const waitable>);
/// Those that are ready now. Throws: as wait.
std::vector<std::size_t> try_wait(std::span<const waitable>);

/// The same for objects as they are: `mp::wait(q, in, p, fd)`.
///
/// Waits:    until something is ready.
/// Throws:   as the form above.
template <std::convertible_to<waitable>... W>
requires(sizeof...(W) > 0) std::vector<std::size_t> wait(const W&... w) {
  const std::array<waitable, sizeof...(W)> all{waitable(w)...};
  return wait(std::span<const waitable>(all));
}
/// Waits:    at most `limit`.
/// Throws:   as the form above.
template <std::convertible_to<waitable>... W>
requires(sizeof...(W) > 0) std::vector<std::size_t> wait_for(duration limit, const W&... w) {
  const std::array<waitable, sizeof...(W)> all{waitable(w)...};
  return wait_for(limit, std::span<const waitable>(all));
}
/// Waits:    until `when`.
/// Throws:   as the form above.
template <std::convertible_to<waitable>... W>
requires(sizeof...(W) > 0) std::vector<std::size_t> wait_until(time_point when, const W&... w) {
  const std::array<waitable, sizeof...(W)> all{waitable(w)...};
  return wait_until(when, std::span<const waitable>(all));
}
/// Throws:   as the form above.
template <std::convertible_to<waitable>... W>
requires(sizeof...(W) > 0) std::vector<std::size_t> try_wait(const W&... w) {
  const std::array<waitable, sizeof...(W)> all{waitable(w)...};
  return try_wait(std::span<const waitable>(all));
}

}  // namespace mp
