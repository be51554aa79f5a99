// Making, attaching, letting go. Must keep presence true: what the kernel's locks say is who may still put or get.
// Handles on their way are in ring_travel.cpp.

#include "channel/ring_channel.hpp"

#include "mp/error.hpp"
#include "os/socket.hpp"

#include <utility>

namespace mp::ring {
namespace {

// What a channel holds unless its options say otherwise. A pipe keeps its writer near its reader.
constexpr u64 queue_bytes = u64{1} << 30;
constexpr u64 pipe_log_bytes = base_extents * extent_bytes;
constexpr u64 pipe_bytes = u64{8} << 20;  // more would not be in any cache when the reader comes to it

bool register_barrier_once() noexcept {
  static const bool have = os::register_heavy_barrier();
  return have;
}

}  // namespace

u64 next_channel_serial() noexcept;

ring_channel::ring_channel(const detail::channel_options& options)
    : options_(options),
      memory_(os::make_memfd("mp-channel", file_bytes), true),
      presence_(memory_),
      writer_(memory_),
      reader_(memory_),
      hands_(memory_, presence_),
      bodies_(memory_, presence_, [this](u64 sequence) { return hands_.holds(sequence); }),
      id_(os::identify(memory_.fd())),
      fork_generation_(os::fork_generation()),
      serial_(next_channel_serial()),
      fast_(&memory_.head()) {
  control& c = shared();
  c.version = 1;
  c.kind = static_cast<std::uint8_t>(options.kind);
  c.joinable = options.joinable;
  c.redeliver = options.on_consumer_death == on_death::redeliver;
  c.type_hash = options.type_hash;
  c.maxsize = options.maxsize;
  c.max_bytes = options.max_bytes ? options.max_bytes : is_pipe() ? pipe_bytes : queue_bytes;
  c.max_log_bytes = is_pipe() && options.max_bytes == 0 ? pipe_log_bytes : c.max_bytes;
  c.extents_used = base_extents;
  c.circle_extents = base_extents;
  for (u32 i = 0; i < base_extents; ++i) memory_.next(i).store((i + 1) % base_extents, std::memory_order_relaxed);
  c.tail.store(make_position(0, 0), std::memory_order_relaxed);
  c.head.store(make_position(0, 0), std::memory_order_relaxed);
  c.magic = control_magic;
  os::socket_pair sockets = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  put_socket_ = os::guarded_fd(std::move(sockets.first));
  get_socket_ = os::guarded_fd(std::move(sockets.second));
  if (!register_barrier_once()) c.fence_needed.store(1);
  presence_.join();
}

ring_channel::ring_channel(ring_fds fds, role first)
    : memory_(std::move(fds.memory), false),
      presence_(memory_),
      writer_(memory_),
      reader_(memory_),
      hands_(memory_, presence_),
      bodies_(memory_, presence_, [this](u64 sequence) { return hands_.holds(sequence); }),
      id_(os::identify(memory_.fd())),
      fork_generation_(os::fork_generation()),
      serial_(next_channel_serial()),
      fast_(&memory_.head()) {
  const control& c = shared();
  options_ = {static_cast<detail::channel_kind>(c.kind),
              transport::ring,
              c.redeliver ? on_death::redeliver : on_death::report,
              c.joinable != 0,
              c.maxsize,
              c.max_bytes,
              c.type_hash};
  if (!register_barrier_once()) shared().fence_needed.store(1);
  presence_.join();
  // Whoever had our slot and was killed: its account is closed before ours begins. Nobody is waited for without end.
  if (options_.joinable && lock_get(std::chrono::steady_clock::now() + patience_with_stopped)) {
    settle_slot(presence_.self_slot(), presence_.predecessor());
    release(shared().get_lock);
  }
  take_fds(std::move(fds));
  try {
    claim_end(first);
  } catch (...) {
    presence_.leave();
    throw;
  }
  raise_role(first);
}

ring_channel::~ring_channel() {
  if (!is_ours()) return;
  presence_.leave();
  forget_channel(id_);
}

void ring_channel::check_process() const {
  if (!is_ours()) [[unlikely]]
    os::check_process(fork_generation_, "a channel's handle");
}

// -- roles
// ----------------------------------------------------------------------------------------------------------------

void ring_channel::take_fds(ring_fds&& fds) {
  if (fds.put_socket && !put_socket_) put_socket_ = os::guarded_fd(std::move(fds.put_socket));
  if (fds.get_socket && !get_socket_) get_socket_ = os::guarded_fd(std::move(fds.get_socket));
}

void ring_channel::raise_role(role r) {
  // The first handle here: the end may have been elsewhere meanwhile. Beside others somebody may be using it right now.
  if (is_pipe() && may_put(r) && senders_ + wholes_ == 0) put_cursor_ = {};
  if (is_pipe() && may_get(r) && receivers_ + wholes_ + whole_gets_ == 0) get_cursor_ = {};
  switch (r) {
    case role::sender: ++senders_; break;
    case role::receiver: ++receivers_; break;
    case role::whole: ++wholes_; break;
    case role::whole_get: ++whole_gets_; break;
  }
  if (may_put(r)) {
    presence_.hold(put_presence, true);
    shared().writer_left.store(0, std::memory_order_relaxed);
  }
  if (may_get(r)) {
    presence_.hold(get_presence, true);
    shared().reader_left.store(0, std::memory_order_relaxed);
  }
}

void ring_channel::add_role(role r) {
  check_process();
  const std::lock_guard lock(roles_mutex_);
  raise_role(r);
}

void ring_channel::drop_role(role r) noexcept {
  if (!is_ours()) return;
  const std::lock_guard lock(roles_mutex_);
  const u32 wholes = wholes_.load() - (r == role::whole);
  const bool last_put = may_put(r) && senders_.load() - (r == role::sender) + wholes == 0;
  const bool last_get =
      may_get(r) &&
      receivers_.load() - (r == role::receiver) + wholes + whole_gets_.load() - (r == role::whole_get) == 0;
  // Before the counts fall: another thread that finds nobody left asks how they left.
  if (last_put) mark_left(side::put);
  if (last_get) mark_left(side::get);
  switch (r) {
    case role::sender: --senders_; break;
    case role::receiver: --receivers_; break;
    case role::whole: --wholes_; break;
    case role::whole_get: --whole_gets_; break;
  }
  if (last_put) end_putting();
  if (last_get) end_getting();
  // A local sender's end is news for our own waiting receivers, too.
  shared().departures.fetch_add(1, std::memory_order_seq_cst);
  if (may_put(r)) wake_all(shared().getters);
  if (may_get(r)) wake_all(shared().putters);
}

// Asked before our own lock goes: a handle on its way holds one already, so an end that moved is not an end that left.
// An end of a pipe that is still ours has not moved, whoever else holds the description that it came with: our parent
// does until start() has returned, and by then we may be gone.
void ring_channel::mark_left(side s) noexcept {
  control& c = shared();
  const std::atomic<u32>& user = s == side::put ? c.writer : c.reader;
  const bool is_ours_still = is_pipe() && user.load(std::memory_order_relaxed) == presence_.self();
  if (is_ours_still || !presence_.others_hold(s == side::put ? put_presence : get_presence))
    (s == side::put ? c.writer_left : c.reader_left).store(1, std::memory_order_release);
}

// Nobody in this process can put any more.
void ring_channel::end_putting() noexcept {
  control& c = shared();
  if (is_pipe()) give_up_end(side::put);
  presence_.hold(put_presence, false);
  c.departures.fetch_add(1, std::memory_order_seq_cst);
  wake_all(c.getters);
  if (put_socket_) ring_bell(side::get);
  if (is_pipe()) put_socket_.reset();
}

void ring_channel::end_getting() noexcept {
  control& c = shared();
  if (!is_pipe()) {
    // In order: what our threads have in hand is done with. No lock: nobody else writes to our cells and our slot.
    for (u32 i = 0, n = c.cells_used.load(); i < n; ++i)
      if (memory_.cell(i).owner.load(std::memory_order_relaxed) == presence_.self()) hands_.clear(i);
    if (options_.joinable) settle_slot(presence_.self_slot(), presence_.self());
    wake_all(c.joiners);
    wake_all(c.getters);  // redeliver: a get may end now that nothing is in our hand
  }
  if (is_pipe()) give_up_end(side::get);
  presence_.hold(get_presence, false);
  c.departures.fetch_add(1, std::memory_order_seq_cst);
  wake_all(c.putters);
  if (get_socket_) ring_bell(side::put);
  if (is_pipe()) get_socket_.reset();
}

void ring_channel::leave_at_exit() noexcept {
  if (!is_ours()) return;
  const std::lock_guard lock(roles_mutex_);
  if (senders_.load() + wholes_.load() > 0) mark_left(side::put), end_putting();
  if (receivers_.load() + wholes_.load() + whole_gets_.load() > 0) mark_left(side::get), end_getting();
}

void ring_channel::shutdown() {
  check_process();
  control& c = shared();
  c.shut.store(1, std::memory_order_seq_cst);
  wake_all(c.getters);
  wake_all(c.putters);
  wake_all(c.joiners);
  if (put_socket_) ring_bell(side::get);
  if (get_socket_) ring_bell(side::put);
}

bool ring_channel::left_in_order(side s) const noexcept {
  const control& c = shared();
  return c.shut.load(std::memory_order_acquire) ||
         (s == side::get ? c.reader_left : c.writer_left).load(std::memory_order_acquire);
}

void ring_channel::change_holder(bool for_good) noexcept {
  if (!is_ours()) return;
  shared().holder_changes.fetch_add(1, std::memory_order_relaxed);
  shared().reader_left.store(for_good ? 1 : 0, std::memory_order_release);
}

void ring_channel::set_maxsize(std::size_t items) {
  check_process();
  shared().maxsize.store(items, std::memory_order_relaxed);
  options_.maxsize = items;
  wake_all(shared().putters);
}

}  // namespace mp::ring
