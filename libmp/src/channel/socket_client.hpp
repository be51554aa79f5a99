#pragma once
/// @file
/// A queue over sockets, seen from a process that did not make it: requests to the maker's I/O thread.
///
/// Shape:    one connection for roles, one per thread that asks, one per side for who polls, one per side for the async
///           forms, which never wait for an answer.
/// Threads:  thread-safe.            Processes: process-bound.
/// Death:    when the maker has ended every call ends with closed.
/// Source:   doc/decisions/0006-channels.md.

#include "channel/socket_packet.hpp"
#include "mp/detail/channel.hpp"
#include "os/fork_guard.hpp"

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace mp::sock {

using detail::channel_options;
using detail::deliver;
using detail::deliver_lost;
using detail::op_status;
using detail::outgoing;
using detail::role;
using detail::side;

class client_channel final : public detail::channel {
public:
  /// `first`: the role that came with the connection and is counted already.
  client_channel(const channel_options&, unique_fd connection, role first);
  ~client_channel() override;

  void add_role(role) override;
  void drop_role(role) noexcept override;
  op_status put(role as, const outgoing&, time_point until) override;
  op_status get(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) override;
  void shutdown() override;
  void take_lost(deliver_lost fn, void* context) override;
  void clear_hand() noexcept override;
  std::size_t size() const override;
  bool full() const override;
  const channel_options& options() const noexcept override { return options_; }
  bool task_done() override;
  op_status join(time_point until) override;
  bool ready(role as, side) override;
  bool prepare_poll(role as, side) override;
  int poll_fd(side) override;
  void export_handle(detail::encoder&, role r) override;

private:
  /// A connection that at most one thread uses at a time.
  struct line {
    os::guarded_fd socket;
    bool has_hand = false;           // an item got here is still in hand
    const void* asked_by = nullptr;  // async: the operation whose answer is outstanding
    bool outstanding = false;
  };

  void check() const { os::check_process(made_in_, "queue"); }
  void tell(const note&, std::span<const std::byte> body = {}, std::span<const unique_fd> fds = {});
  line connect();
  line& my_line() const;
  line& lazy(std::unique_ptr<line>&);
  /// Asks and waits for the answer; false: the maker has ended.
  bool ask(line&, const parcel&, time_point until, received_packet& answer) const;
  bool ask_now(const note&, received_packet& answer) const;
  op_status put_async(const outgoing&, role as);
  op_status get_async(deliver fn, void* context, std::size_t& taken);
  bool watch(role as, side);

  const channel_options options_;
  const std::uint64_t made_in_ = os::fork_generation();
  mutable std::mutex mutex_;  // guards all that follows; never held while an answer is awaited
  os::guarded_fd main_;
  std::array<std::size_t, 4> roles_{};
  mutable std::map<std::thread::id, std::unique_ptr<line>> lines_;
  std::array<std::unique_ptr<line>, 2> async_;  // by side; used by the I/O thread only
  std::array<std::unique_ptr<line>, 2> watch_;  // by side
};

/// After the transport and kind bytes. Throws error{bad_frame}, error{type_mismatch}.
detail::imported_handle import_queue(detail::decoder&, std::uint64_t expected_type);

}  // namespace mp::sock
