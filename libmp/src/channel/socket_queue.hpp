#pragma once
/// @file
/// A queue over sockets, in the process that made it: the items lie here, and the I/O thread serves everybody else.
///
/// Shape:    a local channel, and one session per connection. Presence is by connection: what a process held is given
///           back when its connections end. An item in hand stays with its session until the next request on it.
/// Threads:  thread-safe; sessions are touched only by the I/O thread.   Processes: process-bound.
/// Death:    the queue ends with the process that made it: everybody else sees closed.
/// Source:   doc/decisions/0006-channels.md.

#include "channel/local_channel.hpp"
#include "channel/socket_packet.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <string>

namespace mp::sock {

using detail::channel_options;
using detail::op_status;
using detail::role;
using detail::side;

class session;

class queue_channel final : public detail::local_channel {
public:
  explicit queue_channel(const channel_options& options) : local_channel(options) {}
  void export_handle(detail::encoder&, role r) override;

private:
  friend session;

  // What another process holds. Guarded by mutex_.
  struct client {
    party* holds = nullptr;
    std::uint64_t token = 0;      // names the process; 0: a handle on its way
    std::size_t connections = 0;  // sessions of it
    pid_t pid = 0;
    std::string name;
  };

  void changed() noexcept override;
  void serve_all();
  client& add_client(std::uint64_t token);  // assumes the lock
  void release_client(client&) noexcept;    // assumes the lock
  std::shared_ptr<queue_channel> self();

  std::list<client> clients_;                     // guarded by mutex_
  std::list<std::shared_ptr<session>> sessions_;  // only the I/O thread
  std::atomic<bool> serve_posted_{false};
  std::atomic<std::size_t> session_count_{0};
};

/// One connection of a client. Only the I/O thread touches it once it was started.
///
/// Invariants: (1) at most one request waits (pending_), and it is answered exactly once, unless it is given up; (2) what
/// the last answer took from the queue is in hand_ or told_, so that it can go back.
class session : public std::enable_shared_from_this<session> {
public:
  session(std::shared_ptr<queue_channel> owner, unique_fd socket);

  void start();
  /// Tries the request that waits. `has_waited`: since an earlier call.
  void serve(bool has_waited);

private:
  friend queue_channel;
  using stored = queue_channel::stored;

  void listen();
  void readable();
  void handle(received_packet&&);
  void cancel(const note&);
  void give_back();
  bool could_be_served() const;
  void hello(const received_packet&);
  void attach(received_packet&&);
  void change_role(role, bool add);
  void finish_get();
  void finish_put();
  void finish_join();
  void one_lost();
  void clear_hand();
  void answer(op_status, bool yes = false, std::uint64_t value = 0);
  void answer(parcel);
  void close() noexcept;

  std::shared_ptr<queue_channel> owner_;
  boost::asio::posix::stream_descriptor socket_;
  queue_channel::client* client_ = nullptr;
  std::array<std::size_t, 4> roles_{};    // what this connection holds for its client
  std::optional<received_packet> ahead_;  // read, and to be handled at the next turn
  std::uint64_t number_ = 0;              // of the last request
  std::optional<note> pending_;
  stored waiting_item_;  // of a put that waits
  std::optional<stored> hand_;
  std::uint64_t hand_number_ = 0;            // of the request that it answered
  std::optional<queue_channel::lost> told_;  // by the last answer
  std::size_t not_done_ = 0;                 // got here from a joinable queue, and not done yet
  std::array<std::optional<role>, 2> watched_;
  bool open_ = true;
};

}  // namespace mp::sock
