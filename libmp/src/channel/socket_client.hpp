#pragma once
/// @file
/// A queue over sockets, seen from a process that did not make it: requests to the maker's I/O thread.
///
/// Shape:    one connection for roles, one per thread that asks, one per side for who polls, one per side for the async
///           forms, which never wait for an answer.
/// Threads:  thread-safe.            Processes: process-bound.
/// Death:    when the maker has ended every call ends with closed. A maker that is stopped is waited for no longer than a
///           limit says; what it does not answer in time is called off, and what it did meanwhile goes back.
/// Source:   doc/decisions/0006-channels.md.

#include "channel/socket_packet.hpp"
#include "mp/detail/channel.hpp"
#include "os/fork_guard.hpp"

#include <sys/types.h>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

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
  /// `first`: the role that came with the connection and is counted already. `maker`: the process of the queue.
  client_channel(const channel_options&, unique_fd connection, role first, pid_t maker);
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

  /// Sends what did not fit; false: there is still something.
  bool flush();

private:
  /// A connection that at most one thread uses at a time.
  struct line {
    os::guarded_fd socket;
    bool has_hand = false;           // an item got here is still in hand
    std::uint64_t number = 0;        // of the last request
    std::uint64_t owed = 0;          // a request that was given up before its maker could be told; 0: none
    const void* asked_by = nullptr;  // async: the operation whose answer is outstanding
    bool outstanding = false;
  };

  void check() const { os::check_process(made_in_, "queue"); }
  // What the main connection had no room for.
  struct owed_note {
    note what;
    std::vector<std::byte> body;
    std::vector<unique_fd> fds;
  };
  enum class reply { answered, late, unsent, gone };

  void tell(const note&, std::span<const std::byte> body = {}, unique_fd fd = {});
  line connect();
  line& my_line() const;
  line& lazy(std::unique_ptr<line>&);
  line& async_line(side);
  /// Asks and waits for the answer. late: none came in time, the request was given up (shutdown, done, clear_hand will
  /// be done nevertheless). unsent: it did not even go out. gone: the maker has ended.
  reply ask(line&, parcel&&, time_point until, received_packet& answer) const;
  reply ask_now(const note&, received_packet& answer) const;
  bool can_wait(int fd, short events, time_point until, bool is_over) const;
  void give_up(line&) const;
  [[noreturn]] void throw_silent(const char* verb) const;
  [[noreturn]] void throw_maker_ended(const char* verb) const;
  op_status put_async(const outgoing&, role as);
  op_status get_async(deliver fn, void* context, std::size_t& taken);
  bool watch(role as, side);

  const channel_options options_;
  const std::uint64_t made_in_ = os::fork_generation();
  const pid_t maker_;
  mutable std::mutex mutex_;  // guards all that follows; never held while an answer is awaited
  os::guarded_fd main_;
  std::deque<owed_note> backlog_;
  bool flushing_ = false;
  std::array<std::size_t, 4> roles_{};
  mutable std::map<std::thread::id, std::unique_ptr<line>> lines_;
  std::array<std::unique_ptr<line>, 2> async_;  // by side; used by the I/O thread only
  std::array<std::unique_ptr<line>, 2> watch_;  // by side
};

/// After the transport and kind bytes. Throws error{bad_frame}, error{type_mismatch}.
detail::imported_handle import_queue(detail::decoder&, std::uint64_t expected_type);

}  // namespace mp::sock
