#pragma once
/// @file
/// One to one: a typed pipe of two ends, and the duplex form of two pipes.
///
/// Model:    Python's multiprocessing.Pipe(duplex=False), std::experimental channels; different: typed, two types of
///           end, and the death of the other side is told from its leaving.
/// Shape:    transport::ring: a lock-free ring in shared memory with a doorbell for a sleeping side only.
/// Copies:   one on put (encode), one on get (decode). The sender's object is never shared.
/// Threads:  one thread at a time per end.   Processes: transferable.
/// Life:     what was put can be got, also when its sender is gone.
/// Death:    the receiver gets every whole message, then closed (the sender left) or peer_died (it vanished).
/// Source:   doc/decisions/0006-channels.md.
///
/// Example:  samples/03_pipe.cpp

#include "mp/channel_options.hpp"
#include "mp/codec.hpp"
#include "mp/detail/get_face.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/put_face.hpp"

#include <utility>
#include <vector>

namespace mp {

template <sendable T>
class queue;
template <sendable T>
class sender;
template <sendable T>
class receiver;
class waitable;

/// The end that gets: one of a pipe, any number of a queue.
///
/// Threads:  one thread at a time.   Processes: transferable.
template <sendable T>
class receiver : public detail::get_face<receiver<T>, T> {
public:
  /// A closed end.
  receiver() noexcept = default;
  /// Another receiver of the queue. Throws: error{closed} if that handle is.
  receiver(const queue<T>& from);
  receiver(receiver&&) noexcept = default;
  receiver& operator=(receiver&&) noexcept = default;

  /// What dead consumers had in hand and nobody took yet; each is reported once.
  /// Throws:   error{closed}, error{undecodable}.
  std::vector<lost_item<T>> take_lost() const { return this->take_lost_items(); }
  /// Lets this end go. Twice is fine.
  void close() noexcept { handle_.close(); }

private:
  friend detail::get_face<receiver, T>;
  friend detail::handle_codec<receiver>;
  friend waitable;
  template <sendable Out, sendable In>
  friend class duplex_end;
  template <sendable U>
  friend struct pipe_maker;
  template <sendable U>
  friend class queue;

  static constexpr const char* noun = "receiver";
  explicit receiver(detail::handle h) noexcept : handle_(std::move(h)) {}
  const detail::handle& get_side() const noexcept { return handle_; }

  detail::handle handle_;
};

/// The end that puts: one of a pipe, any number of a queue.
///
/// Threads:  one thread at a time.   Processes: transferable.
template <sendable T>
class sender : public detail::put_face<sender<T>, T> {
public:
  /// A closed end.
  sender() noexcept = default;
  /// Another sender of the queue; while it lives no get ends. Throws: error{closed} if that handle is, or puts no more.
  sender(const queue<T>& to);
  sender(sender&&) noexcept = default;
  sender& operator=(sender&&) noexcept = default;

  /// Lets this end go: the receiver gets what is there, then closed. Twice is fine.
  void close() noexcept { handle_.close(); }

private:
  friend detail::put_face<sender, T>;
  friend detail::handle_codec<sender>;
  template <sendable Out, sendable In>
  friend class duplex_end;
  template <sendable U>
  friend struct pipe_maker;
  template <sendable U>
  friend class queue;

  static constexpr const char* noun = "sender";
  explicit sender(detail::handle h) noexcept : handle_(std::move(h)) {}
  const detail::handle& put_side() const noexcept { return handle_; }

  detail::handle handle_;
};

/// What `pipe<T>()` gives: `auto [in, out] = mp::pipe<int>();`
///
/// Threads:  a value.   Processes: its members are transferable.
template <sendable T>
struct pipe_ends {
  mp::receiver<T> receiver;
  mp::sender<T> sender;
};

/// Not for users: makes the two ends of one channel.
///
/// Threads:  static functions only.   Processes: static functions only.
template <sendable T>
struct pipe_maker {
  static pipe_ends<T> make(const pipe_options& options) {
    const auto c = detail::make_channel(detail::to_channel_options(options, "pipe", detail::type_hash<T>()));
    return {receiver<T>(detail::handle(c, detail::role::receiver)), sender<T>(detail::handle(c, detail::role::sender))};
  }
};

/// A new pipe. Throws: error{invalid_argument}, error{out_of_resources}.
template <sendable T>
pipe_ends<T> pipe(const pipe_options& options = {}) {
  return pipe_maker<T>::make(options);
}

/// One end of a pair of pipes: puts Out, gets In.
///
/// Threads:  one getting and one putting thread.   Processes: transferable.
template <sendable Out, sendable In>
class duplex_end : public detail::put_face<duplex_end<Out, In>, Out>, public detail::get_face<duplex_end<Out, In>, In> {
public:
  /// A closed end.
  duplex_end() noexcept = default;
  duplex_end(duplex_end&&) noexcept = default;
  duplex_end& operator=(duplex_end&&) noexcept = default;
  /// Of two ends of pipes.
  duplex_end(mp::sender<Out> out, mp::receiver<In> in) noexcept
      : out_(std::move(out.handle_)), in_(std::move(in.handle_)) {}

  /// Its two halves; this end is closed afterwards.
  std::pair<mp::sender<Out>, mp::receiver<In>> split() && {
    return {mp::sender<Out>(std::move(out_)), mp::receiver<In>(std::move(in_))};
  }
  /// Lets both directions go. Twice is fine.
  void close() noexcept {
    out_.close();
    in_.close();
  }

private:
  friend detail::put_face<duplex_end, Out>;
  friend detail::get_face<duplex_end, In>;
  friend detail::handle_codec<duplex_end>;
  friend waitable;

  static constexpr const char* noun = "duplex_end";
  const detail::handle& put_side() const noexcept { return out_; }
  const detail::handle& get_side() const noexcept { return in_; }

  detail::handle out_, in_;
};

/// Two ends that talk to each other. Throws: error{invalid_argument}, error{out_of_resources}.
template <sendable A, sendable B>
std::pair<duplex_end<A, B>, duplex_end<B, A>> duplex_pipe(const pipe_options& options = {}) {
  auto there = pipe<A>(options);
  auto back = pipe<B>(options);
  return {duplex_end<A, B>(std::move(there.sender), std::move(back.receiver)),
          duplex_end<B, A>(std::move(back.sender), std::move(there.receiver))};
}

namespace detail {

template <class T>
struct handle_codec<receiver<T>> {
  static constexpr std::uint64_t hash = hash_type<T>(hash_text("mp::receiver"));
  static void encode(encoder& e, const receiver<T>& r) { r.handle_.export_to(e, "receiver"); }
  static receiver<T> decode(decoder& d) {
    return receiver<T>(handle::import_from(d, type_hash<T>(), "receiver",
                                           [](role r, const channel_options&) { return r == role::receiver; }));
  }
};

template <class T>
struct handle_codec<sender<T>> {
  static constexpr std::uint64_t hash = hash_type<T>(hash_text("mp::sender"));
  static void encode(encoder& e, const sender<T>& s) { s.handle_.export_to(e, "sender"); }
  static sender<T> decode(decoder& d) {
    return sender<T>(handle::import_from(d, type_hash<T>(), "sender",
                                         [](role r, const channel_options&) { return r == role::sender; }));
  }
};

template <class Out, class In>
struct handle_codec<duplex_end<Out, In>> {
  static constexpr std::uint64_t hash = hash_type<In>(hash_type<Out>(hash_text("mp::duplex_end")));
  static void encode(encoder& e, const duplex_end<Out, In>& end) {
    end.out_.export_to(e, "duplex_end");
    end.in_.export_to(e, "duplex_end");
  }
  static duplex_end<Out, In> decode(decoder& d) {
    auto out = handle_codec<sender<Out>>::decode(d);
    auto in = handle_codec<receiver<In>>::decode(d);
    return duplex_end<Out, In>(std::move(out), std::move(in));
  }
};

}  // namespace detail
}  // namespace mp
