#pragma once
/// @file
/// Many to many: a queue that processes and threads share.
///
/// Model:    Python's multiprocessing.Queue and JoinableQueue; different: typed, no feeder thread, what put accepted
///           lies outside the process, and a get can end because nobody is left who could put.
/// Shape:    transport::ring: records in shared memory, one lock for put and one for get, each committed by one store.
/// Copies:   one on put (encode), one on get (decode). The sender's object is never shared.
/// Threads:  thread-safe.            Processes: shareable.
/// Life:     what was put can be got, also when its producer is gone.
/// Death:    a consumer that dies with an item in hand is reported by take_lost(), or its item is redelivered; the
///           queue itself goes on.
/// Source:   doc/decisions/0006-channels.md.
///
/// Example:  samples/02_queue.cpp

#include "mp/channel_options.hpp"
#include "mp/codec.hpp"
#include "mp/detail/get_face.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/put_face.hpp"
#include "mp/pipe.hpp"

#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

namespace mp {

/// First in, first out per producer. Copies are the same queue, also in another process.
///
/// Who counts: `get` ends with closed when the queue is empty and nobody is left who could put: no sender, no whole
/// queue in *another* process, no handle on its way. As long as no other process ever had the queue nothing ends by
/// itself.
///
/// Threads:  thread-safe, but for close, close_sender, assignment and move.   Processes: shareable.
template <sendable T>
class queue : public detail::get_face<queue<T>, T>, public detail::put_face<queue<T>, T> {
public:
  /// No bound in items. Throws: error{out_of_resources}.
  queue() : queue(queue_options{}) {}
  /// At most `maxsize` items wait; 0: no bound. Throws: error{invalid_argument} if negative, error{out_of_resources}.
  template <std::integral N>
  requires(!std::same_as<N, bool>) explicit queue(N maxsize)
      : queue(queue_options{.maxsize = detail::to_count(maxsize)}) {}
  /// Throws: error{invalid_argument}, error{out_of_resources}.
  explicit queue(const queue_options& options)
      : handle_(detail::make_channel(detail::to_channel_options(options, noun, false, detail::type_hash<T>())),
                detail::role::whole) {}
  queue(const queue&) = default;
  queue(queue&&) noexcept = default;
  queue& operator=(const queue&) = default;
  queue& operator=(queue&&) noexcept = default;

  /// A sender of this queue: while it lives no get ends. Throws: error{closed}.
  mp::sender<T> sender() const { return mp::sender<T>(*this); }
  /// A receiver of this queue. Throws: error{closed}.
  mp::receiver<T> receiver() const { return mp::receiver<T>(*this); }
  /// What dead consumers had in hand and nobody took yet; each is reported once.
  /// Throws:   error{closed}, error{undecodable}.
  std::vector<lost_item<T>> take_lost() const { return this->take_lost_items(); }

  /// Items that wait now, a snapshot, as the next two. Throws: error{closed}, deadline_exceeded (socket: silent maker).
  std::size_t size() const { return handle_.open(noun, "size").size(); }
  bool empty() const { return size() == 0; }
  bool full() const { return handle_.open(noun, "full").full(); }
  /// 0: no bound. Throws: error{closed}.
  std::ptrdiff_t maxsize() const {
    return static_cast<std::ptrdiff_t>(handle_.open(noun, "maxsize").options().maxsize);
  }

  /// Lets this handle go, both ends. Twice is fine.
  void close() noexcept { handle_.close(); }
  /// This handle puts no more, nor do copies made from it; it still gets. Twice is fine.
  void close_sender() noexcept {
    if (handle_.is_open() && handle_.as() == detail::role::whole)
      handle_ = handle_.with(detail::role::whole_get, noun, "close_sender");
  }
  /// Ends the queue for everybody: puts throw closed, gets drain what is there, then throw closed.
  /// Throws:   error{closed} if this handle is.
  void shutdown() const { handle_.open(noun, "shutdown").shutdown(); }

private:
  friend detail::get_face<queue, T>;
  friend detail::put_face<queue, T>;
  friend detail::handle_codec<queue>;
  friend mp::sender<T>;
  friend mp::receiver<T>;
  friend waitable;

  static constexpr const char* noun = "queue";
  explicit queue(detail::handle h) noexcept : handle_(std::move(h)) {}
  const detail::handle& get_side() const noexcept { return handle_; }
  const detail::handle& put_side() const noexcept { return handle_; }

  detail::handle handle_;
};

template <sendable T>
receiver<T>::receiver(const queue<T>& from) : handle_(from.handle_.with(detail::role::receiver, "queue", "receiver")) {}

template <sendable T>
sender<T>::sender(const queue<T>& to)
    : handle_([&] {
        static_cast<void>(to.handle_.open_to_put("queue", "sender"));
        return to.handle_.with(detail::role::sender, "queue", "sender");
      }()) {}

/// A queue that knows when all its items are done. Does not convert to sender or receiver.
///
/// Threads:  thread-safe, but for close, assignment and move.   Processes: shareable.
template <sendable T>
class joinable_queue : public detail::get_face<joinable_queue<T>, T>, public detail::put_face<joinable_queue<T>, T> {
public:
  /// No bound in items. Throws: error{out_of_resources}.
  joinable_queue() : joinable_queue(queue_options{}) {}
  /// Throws: error{invalid_argument}, error{out_of_resources}.
  explicit joinable_queue(const queue_options& options)
      : handle_(detail::make_channel(detail::to_channel_options(options, noun, true, detail::type_hash<T>())),
                detail::role::whole) {}

  /// One item that was got is done. Throws: error{invalid_argument} if there were more calls than items.
  void task_done() const {
    if (!handle_.open(noun, "task_done").task_done()) detail::throw_too_many_done();
  }
  /// Waits:    until every item put is done; the items of dead consumers count as done.
  /// Throws:   error{closed} if this handle is; error{would_deadlock} on the I/O thread.
  void join() const { static_cast<void>(wait_done(time_point::max(), "join")); }
  /// Waits:    at most `limit`. False: time is up.
  /// Throws:   as join.
  [[nodiscard]] bool join_for(duration limit) const {
    return wait_done(deadline_after(std::chrono::steady_clock::now(), limit), "join_for");
  }
  /// Waits:    until `when`.
  /// Throws:   as join.
  [[nodiscard]] bool join_until(time_point when) const { return wait_done(when, "join_until"); }

  /// As queue's.
  /// Throws:   error{closed}, error{undecodable}.
  std::vector<lost_item<T>> take_lost() const { return this->take_lost_items(); }
  /// As queue's, snapshots. Throws: error{closed}.
  std::size_t size() const { return handle_.open(noun, "size").size(); }
  bool empty() const { return size() == 0; }
  bool full() const { return handle_.open(noun, "full").full(); }
  std::ptrdiff_t maxsize() const {
    return static_cast<std::ptrdiff_t>(handle_.open(noun, "maxsize").options().maxsize);
  }
  /// Lets this handle go. Twice is fine.
  void close() noexcept { handle_.close(); }
  /// As queue's.
  void close_sender() noexcept {
    if (handle_.is_open() && handle_.as() == detail::role::whole)
      handle_ = handle_.with(detail::role::whole_get, noun, "close_sender");
  }
  /// As queue's. Throws: error{closed} if this handle is.
  void shutdown() const { handle_.open(noun, "shutdown").shutdown(); }

private:
  friend detail::get_face<joinable_queue, T>;
  friend detail::put_face<joinable_queue, T>;
  friend detail::handle_codec<joinable_queue>;
  friend waitable;

  static constexpr const char* noun = "joinable_queue";
  explicit joinable_queue(detail::handle h) noexcept : handle_(std::move(h)) {}
  const detail::handle& get_side() const noexcept { return handle_; }
  const detail::handle& put_side() const noexcept { return handle_; }

  bool wait_done(time_point until, const char* verb) const {
    detail::channel& c = handle_.open(noun, verb);
    if (c.join(time_point::min()) == detail::op_status::ok) return true;
    detail::check_may_wait(verb);
    return c.join(until) == detail::op_status::ok;
  }

  detail::handle handle_;
};

namespace detail {

template <class T>
struct handle_codec<queue<T>> {
  static constexpr std::uint64_t hash = hash_type<T>(hash_text("mp::queue"));
  static void encode(encoder& e, const queue<T>& q) { q.handle_.export_to(e, "queue"); }
  static queue<T> decode(decoder& d) {
    return queue<T>(handle::import_from(d, type_hash<T>(), "queue", [](role r, const channel_options& o) {
      return (r == role::whole || r == role::whole_get) && !o.joinable;
    }));
  }
};

template <class T>
struct handle_codec<joinable_queue<T>> {
  static constexpr std::uint64_t hash = hash_type<T>(hash_text("mp::joinable_queue"));
  static void encode(encoder& e, const joinable_queue<T>& q) { q.handle_.export_to(e, "joinable_queue"); }
  static joinable_queue<T> decode(decoder& d) {
    return joinable_queue<T>(handle::import_from(
        d, type_hash<T>(), "joinable_queue",
        [](role r, const channel_options& o) { return (r == role::whole || r == role::whole_get) && o.joinable; }));
  }
};

}  // namespace detail
}  // namespace mp
