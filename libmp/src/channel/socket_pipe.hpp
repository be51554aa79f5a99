#pragma once
/// @file
/// A pipe over a socket alone: records one after the other, nothing shared but the connection.
///
/// Shape:    one SEQPACKET pair; an eventfd per end that is raised when the end leaves in order, which tells leaving from
///           dying; with maxsize an eventfd of credits. Bounded by the kernel's socket buffer: there is no second one.
/// Threads:  one putting and one getting thread.   Processes: process-bound.
/// Source:   doc/decisions/0006-channels.md.

#include "channel/socket_packet.hpp"
#include "mp/detail/channel.hpp"
#include "os/fork_guard.hpp"

#include <array>
#include <mutex>

namespace mp::sock {

using detail::channel_options;
using detail::deliver;
using detail::deliver_lost;
using detail::op_status;
using detail::outgoing;
using detail::role;
using detail::side;

/// The descriptors of a pipe, as they travel: our end's socket, the marks, credits (with maxsize only).
struct pipe_fds {
  unique_fd put_end, get_end;
  unique_fd marks;
  unique_fd credits;
};

class pipe_channel final : public detail::channel {
public:
  pipe_channel(const channel_options&, pipe_fds);
  ~pipe_channel() override;

  /// The process ends in order: its ends leave, though their handles (globals, say) still live.
  void leave_at_exit() noexcept;

  void add_role(role) override;
  void drop_role(role) noexcept override;
  op_status put(role as, const outgoing&, time_point until) override;
  op_status get(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) override;
  void shutdown() override;
  void take_lost(deliver_lost, void*) override {}
  void clear_hand() noexcept override {}
  std::size_t size() const override;
  bool full() const override;
  const channel_options& options() const noexcept override { return options_; }
  bool task_done() override { return false; }
  op_status join(time_point) override { return op_status::ok; }
  bool ready(role as, side) override;
  bool prepare_poll(role as, side) override;
  int poll_fd(side) override;
  void export_handle(detail::encoder&, role r) override;

private:
  void check() const { os::check_process(made_in_, "pipe"); }
  bool take_credit();
  void give_credit() noexcept;
  op_status how_ended(role other) const;
  bool is_held_elsewhere(role) const;
  void mark_left(role) noexcept;

  const channel_options options_;
  const std::uint64_t made_in_ = os::fork_generation();
  std::mutex roles_mutex_;  // guards the next
  std::array<std::size_t, 4> roles_{};
  std::mutex put_mutex_, get_mutex_;
  // A memfd with a byte for each end: 1 when it left in order. Whoever has the end, and a handle on its way, holds a read
  // lock on that byte through an open file description of its own.
  os::guarded_fd marks_;
  os::guarded_fd put_, get_, credits_;
  os::guarded_fd put_poll_;  // an epoll that is readable when a put may succeed; made on first use
};

/// Every pipe of this process, at its orderly end.
void leave_pipe_channels() noexcept;
std::shared_ptr<detail::channel> make_pipe(const channel_options&);
/// After the transport and kind bytes. Throws error{bad_frame}, error{type_mismatch}.
detail::imported_handle import_pipe(detail::decoder&, std::uint64_t expected_type);

}  // namespace mp::sock
