#pragma once
/// @file
/// A channel in this process's own memory: what threads share, what tests use as a fake, and the store in which the
/// maker of a socket queue keeps its items.
///
/// Shape:    a deque under one mutex, two condition variables; an eventfd per side for who polls.
/// Copies:   one on put (encode into the item's own memory), none on get (decoded where it lies).
/// Threads:  thread-safe.            Processes: process-bound; export_handle throws invalid_argument.
/// Source:   doc/decisions/0006-channels.md.

#include "mp/detail/channel.hpp"

#include <array>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>

namespace mp::detail {

class local_channel : public channel {
public:
  /// Invariants (guarded by mutex_): (1) bytes_ is the sum over items_; (2) unfinished_ counts items put and not done;
  /// (3) a side's event is raised only while armed, or was raised since.
  explicit local_channel(const channel_options&);
  ~local_channel() override;

  void add_role(role) override;
  void drop_role(role) noexcept override;
  op_status put(role as, const outgoing&, time_point until) override;
  op_status get(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) override;
  void shutdown() override;
  void take_lost(deliver_lost fn, void* context) override;
  void clear_hand() noexcept override {}
  std::size_t size() const override;
  bool full() const override;
  const channel_options& options() const noexcept override { return options_; }
  bool task_done() override;
  op_status join(time_point until) override;
  bool ready(role as, side) override;
  bool prepare_poll(role as, side) override;
  int poll_fd(side) override;
  bool nobody_gets(role as) const override;
  void export_handle(encoder&, role r) override;

protected:
  /// One message at rest. Its memory is its own, so that it can be decoded outside the lock.
  struct stored {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    std::vector<unique_fd> fds;
    std::uint64_t id = 0;
    std::size_t offset = 0;  // where the message begins in bytes
    std::span<const std::byte> view() const noexcept { return {bytes.get() + offset, size}; }
  };
  struct lost {
    stored item;
    pid_t consumer = 0;
    std::string name;
  };
  /// The handles of one process (of one handle in flight, too), by role.
  struct party {
    std::array<std::size_t, 4> roles{};
    std::size_t& operator[](role r) noexcept { return roles[static_cast<std::size_t>(r)]; }
    std::size_t operator[](role r) const noexcept { return roles[static_cast<std::size_t>(r)]; }
  };
  using lock = std::unique_lock<std::mutex>;

  static stored make_stored(const outgoing&);

  // All of these assume the lock.
  bool has_room(std::size_t bytes) const noexcept;
  bool get_ended(const party&) const noexcept;
  bool put_ended(const party&, role as) const noexcept;
  void push(stored&&, bool in_front = false);
  stored pop();
  enum class outcome { done, wait, closed };
  outcome try_put(const party&, role as, stored&);
  bool nothing_waits() const noexcept { return items_.empty(); }
  bool all_are_done() const noexcept { return unfinished_ == 0; }
  std::size_t items() const noexcept { return items_.size(); }
  bool done_once() noexcept;  // one item of a joinable channel is done
  void signal(side);          // something changed that this side may wait for
  void signal_all() { signal(side::get), signal(side::put); }

  void check_process() const;
  /// Runs without the lock after every change; the socket queue serves its clients then.
  virtual void changed() noexcept {}

  mutable std::mutex mutex_;
  std::list<party> parties_;  // the first is this process; a socket queue adds one per client
  party& self_;
  bool ever_shared_ = false;        // has another process ever had a handle?
  std::size_t held_elsewhere_ = 0;  // items in the hands of clients (redeliver: no get ends meanwhile)
  bool shut_down_ = false;
  std::list<lost> lost_;

private:
  template <class Ready>
  bool wait(lock&, std::condition_variable&, time_point until, Ready&&);

  const channel_options options_;
  const std::uint64_t made_in_;
  std::deque<stored> items_;
  std::size_t bytes_ = 0;
  std::uint64_t next_id_ = 1;
  std::size_t unfinished_ = 0;
  std::condition_variable can_get_, can_put_, all_done_;
  struct poller {
    unique_fd event;  // made on first use
    bool armed = false;
  };
  std::array<poller, 2> pollers_;  // by side
};

/// Throws invalid_argument for options that make no sense.
std::shared_ptr<channel> make_local_channel(const channel_options&);

}  // namespace mp::detail
