#pragma once
/// @file
/// A channel whose data plane is shared memory: the default transport. One object per process and channel.
///
/// Shape:    ring_layout.hpp draws the memory; a Unix socket pair beside it carries descriptors, the bell of whoever
///           polls, and hang-up.
/// Threads:  thread-safe (a pipe: one putting and one getting thread).   Processes: process-bound.
/// Source:   doc/decisions/0006-channels.md.

#include "channel/ring_bodies.hpp"
#include "channel/ring_hands.hpp"
#include "channel/ring_lock.hpp"
#include "channel/ring_log.hpp"
#include "channel/ring_sleep.hpp"
#include "mp/detail/channel.hpp"

#include <atomic>
#include <mutex>

namespace mp::ring {

/// How long an operation without a deadline waits for a lock whose owner lives: it may be stopped for hours.
inline constexpr std::chrono::seconds patience_with_stopped{1};

using detail::deliver;
using detail::deliver_lost;
using detail::incoming;
using detail::op_status;
using detail::outgoing;
using detail::role;
using detail::side;

/// The descriptors that a handle travels with.
struct ring_fds {
  unique_fd memory, put_socket, get_socket;
};

class ring_channel final : public detail::channel {
public:
  /// A new channel. Throws error{out_of_resources}, error{invalid_argument}.
  explicit ring_channel(const detail::channel_options& options);
  /// The view of a channel that another process made; takes the roles that the memory's descriptor holds.
  ring_channel(ring_fds fds, role first);
  ~ring_channel() override;

  void add_role(role) override;
  void drop_role(role) noexcept override;
  op_status put(role as, const outgoing&, time_point until) override;
  op_status put_now(role as, const outgoing&) override;
  op_status get(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) override;
  void shutdown() override;
  void take_lost(deliver_lost fn, void* context) override;
  void clear_hand() noexcept override;
  std::size_t size() const override;
  bool full() const override;
  const detail::channel_options& options() const noexcept override { return options_; }
  bool task_done() override;
  op_status join(time_point until) override;
  bool ready(role as, side) override;
  bool prepare_poll(role as, side) override;
  int poll_fd(side s) override { return s == side::get ? get_socket_.get() : put_socket_.get(); }
  void export_handle(detail::encoder&, role r) override;
  bool left_in_order(side) const noexcept override;
  void change_holder(bool for_good) noexcept override;
  std::uint32_t holder_changes() const noexcept override {
    return shared().holder_changes.load(std::memory_order_relaxed);
  }
  bool nobody_gets(role as) const override {
    check_process();
    return put_ended(as);
  }
  void set_maxsize(std::size_t items) override;

  /// A handle that arrived for a channel that this process has already.
  void adopt(ring_fds fds, role r);
  /// At an orderly end of the process: whoever waits for us learns that we left.
  void leave_at_exit() noexcept;
  int memory_fd() const noexcept { return memory_.fd(); }
  const os::file_id& id() const noexcept { return id_; }
  /// The cell of a thread that ended.
  void release_cell(u32 cell) noexcept;

private:
  /// What the calling thread has to do with one channel.
  struct cell_use {
    u64 serial = 0;
    std::weak_ptr<detail::channel> channel;
    u32 cell = hands::none;
    bool bodies = false;       // a large message is among them
    u32 given = 0, count = 0;  // items of the cell handed out / collected: the rest stays when fn throws
    time_point next_sweep{};
  };

  control& shared() const noexcept { return memory_.head(); }
  bool is_pipe() const noexcept { return options_.kind == detail::channel_kind::pipe; }
  void check_process() const;
  u64 head_sequence() const noexcept;

  // -- putting (ring_put.cpp)
  bool put_fast(const outgoing& m);
  op_status put_slow(role as, const outgoing& m, time_point until);
  bool time_to_look() noexcept;
  void place_put_cursor(position tail) noexcept;
  void tell_getters(control& c) noexcept;
  op_status put_small(role as, const outgoing& m, time_point until);
  op_status put_body(role as, const outgoing& m, time_point until);
  bool try_commit(const outgoing& m, std::span<const std::byte> bytes, const body_ref* body, bool& short_of_fds);
  bool count_has_room() const noexcept;
  bool takes_one_more() noexcept;
  bool has_room() const noexcept;
  op_status wait_for_room(role as, time_point until, position seen_head, bool any_progress);
  bool put_ended(role as) const noexcept;
  op_status how_put_ended() const noexcept;
  void after_put() noexcept;
  bool lock_put(time_point until);
  u64 log_limit() const noexcept;
  bool send_fds(std::span<const unique_fd> fds, u64 nonce);

  // -- getting (ring_get.cpp)
  bool get_fast(deliver fn, void* context);
  static void follow(u64 last_batch) noexcept;
  void place_get_cursor(position head) noexcept;
  op_status get_pipe(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken);
  op_status get_queue(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken);
  bool collect(cell_use& use, std::size_t most, std::vector<unique_fd>& fds, time_point until, bool& timed_out);
  void hand_out(cell_use& use, deliver fn, void* context, std::vector<unique_fd>& fds, std::size_t most,
                std::size_t& taken);
  op_status wait_for_item(role as, time_point until, u32 own_cell);
  bool spin_for_item(time_point until);
  bool get_ended(role as, u32 own_cell) const;
  op_status how_get_ended() const noexcept;
  bool is_empty() const noexcept;
  void after_get(bool progress_worth_telling) noexcept;
  bool lock_get(time_point until);
  bool redeliver(cell_use& use, time_point until);
  std::vector<unique_fd> peek_fds(const fd_prefix& want);
  void drop_fds(const fd_prefix& taken) noexcept;
  std::span<const std::byte> body_span(u64 size, u32 body);
  std::span<const std::byte> entry_bytes(const hand_cell& cell, const hand_entry& entry);
  void drop_orphaned_fds() noexcept;
  void trim() noexcept;
  void empty_hand(cell_use& use) noexcept;
  void note_got(u64 first, u64 count) noexcept;
  void drop_uncommitted_got() noexcept;
  cell_use& my_cell();

  // -- counting what is done (ring_join.cpp)
  u64 got_by(u32 slot) const noexcept;
  void settle_slot(u32 slot, identity owner) noexcept;
  u64 all_done() const noexcept;
  void settle_dead(time_point until);
  u64 unfinished() const noexcept;

  // -- polling (ring_poll.cpp)
  void ring_bell(side s) noexcept;
  void clear_bell(side s) noexcept;

  detail::channel_options options_;
  mutable memory memory_;
  presence presence_;
  log_writer writer_;
  log_reader reader_;
  hands hands_;
  bodies bodies_;
  os::guarded_fd put_socket_, get_socket_;  // the ends of whoever puts and of whoever gets
  const os::file_id id_;
  u64 fork_generation_;
  u64 serial_;     // of this object in this process; names it in thread-local tables
  control* fast_;  // = &memory_.head()
  std::atomic<u32> puts_since_look_{0};

  /// To ask whether anybody is left costs a system call. Who is going to wait may trust its last look for as long as a
  /// sleep lasts, unless a role ended in order meanwhile: a death is seen a slice later at most.
  struct last_look {
    std::atomic<u32> departures{0};
    std::atomic<time_point::rep> good_until{0};
    bool is_good(u32 now_departures, time_point now) const noexcept {
      return departures.load(std::memory_order_relaxed) == now_departures &&
             now.time_since_epoch().count() < good_until.load(std::memory_order_relaxed);
    }
    void note(u32 seen_departures, time_point now) noexcept {
      departures.store(seen_departures, std::memory_order_relaxed);
      good_until.store((now + os::sleep_slice).time_since_epoch().count(), std::memory_order_relaxed);
    }
    void forget() noexcept { good_until.store(0, std::memory_order_relaxed); }
  };
  last_look get_look_, put_look_;
  static constexpr u32 first_patience = 8;
  std::atomic<u32> streak_{0};                 // waits in a row that found the next item at once
  std::atomic<u32> patience_{first_patience};  // how many of them before a batch is waited for
  // A pipe's ends remember where they are: the common operation reads nothing that the other side writes.
  struct {
    std::byte* at = nullptr;
    u64 left = 0;  // bytes in this extent, without the room for the jump
    position tail = 0;
  } put_cursor_;
  struct {
    position head = 0, tail_seen = 0;
    const std::byte* at = nullptr;
    u64 left = 0;   // bytes in this extent
    u64 batch = 0;  // how many messages the last look at tail found
  } get_cursor_;

  bool is_ours() const noexcept { return fork_generation_ == os::fork_generation(); }
  void take_fds(ring_fds&& fds);
  void raise_role(role r);
  /// The end of a pipe has one user: this process, from now on. Throws error{wrong_process}.
  void claim_end(role r);
  void give_up_end(side s) noexcept;
  [[noreturn]] void refuse_end(role r, identity holder) const;
  void mark_left(side s) noexcept;
  void end_putting() noexcept;
  void end_getting() noexcept;

  std::mutex roles_mutex_;  // guards changes of the following
  std::atomic<u32> senders_{0}, receivers_{0}, wholes_{0}, whole_gets_{0};
};

std::shared_ptr<detail::channel> make_ring_channel(const detail::channel_options&);
detail::imported_handle import_ring_handle(detail::decoder&, std::uint64_t expected_type);
/// The channel with this memory is gone from this process.
void forget_channel(const os::file_id&) noexcept;
/// Every channel of this process tells its peers that we leave in order. For the end of a process.
void leave_ring_channels() noexcept;

}  // namespace mp::ring
