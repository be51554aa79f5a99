// Making, attaching, letting go. Must keep presence true: what the kernel's locks say is who may still put or get.

#include "channel/ring_channel.hpp"

#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <cstring>
#include <map>
#include <string>
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

/// Every channel of this process by its memory's identity. A forked child starts with a new one.
struct registry {
  std::mutex mutex;
  std::map<os::file_id, std::weak_ptr<ring_channel>> channels;

  u64 made_in = os::fork_generation();

  static registry& get() {
    // Never destroyed: channels may be let go of in static destructors. In a forked child the old one may be locked.
    static std::atomic<registry*> instance{nullptr};
    registry* seen = instance.load(std::memory_order_acquire);
    if (!seen || seen->made_in != os::fork_generation()) {
      // Two threads may come here at once: one registry wins, both use it.
      auto fresh = std::make_unique<registry>();
      if (instance.compare_exchange_strong(seen, fresh.get(), std::memory_order_acq_rel)) seen = fresh.release();
    }
    return *seen;
  }
};

void check_socket(const unique_fd& fd) {
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISSOCK(info.st_mode))
    detail::throw_error(errc::bad_frame, "a handle of a channel arrived without its socket");
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
  if (is_pipe() && may_put(r)) put_cursor_ = {};  // the end may have been elsewhere meanwhile
  if (is_pipe() && may_get(r)) get_cursor_ = {};
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

void ring_channel::claim_end(role r) {
  if (!is_pipe()) return;
  std::atomic<u32>& word = may_put(r) ? shared().writer : shared().reader;
  identity holder = word.load(std::memory_order_acquire);
  do {
    const bool is_free = holder == 0 || holder == on_its_way;
    if (!is_free && (holder == presence_.self() || !presence_.is_dead(holder))) refuse_end(r, holder);
  } while (!word.compare_exchange_weak(holder, presence_.self(), std::memory_order_acq_rel, std::memory_order_acquire));
  // It may have been killed between two stores to what is only derived. No lock: a pipe's log is its one writer's.
  if (may_put(r) && holder != 0 && holder != on_its_way) writer_.rebuild();
}

void ring_channel::refuse_end(role r, identity holder) const {
  std::string who = "this process";
  if (holder != presence_.self() && slot_of(holder) < max_participants) {
    const participant& other = memory_.slot(slot_of(holder));
    who = "process " + std::to_string(other.pid) + " (" + std::string(other.name, ::strnlen(other.name, 16)) + ")";
  }
  detail::throw_error(errc::wrong_process,
                      std::string("the ") + (may_put(r) ? "sending" : "receiving") + " end of a pipe arrived, but " +
                          who + " has it: an end has one user at a time. What a task holds it hands to every process " +
                          "that is made of it; share a queue's sender or receiver between several");
}

// Ours, or already another's: it was sent on.
void ring_channel::give_up_end(side s) noexcept {
  identity mine = presence_.self();
  (s == side::put ? shared().writer : shared().reader).compare_exchange_strong(mine, 0, std::memory_order_acq_rel);
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
void ring_channel::mark_left(side s) noexcept {
  control& c = shared();
  if (!presence_.others_hold(s == side::put ? put_presence : get_presence))
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

// -- travelling
// -----------------------------------------------------------------------------------------------------------

void ring_channel::export_handle(detail::encoder& e, role r) {
  check_process();
  e.number(static_cast<std::uint8_t>(transport::ring));
  e.number(static_cast<std::uint8_t>(r));
  e.number(static_cast<std::uint8_t>(options_.kind));
  e.number(options_.type_hash);
  if (!e.attaching()) return;
  // Its own open file description: the handle counts while it is on its way, and is gone with the message it is in.
  unique_fd copy = os::reopen(memory_.fd());
  if (may_put(r)) os::lock_shared(copy.get(), put_presence);
  if (may_get(r)) os::lock_shared(copy.get(), get_presence);
  shared().shared.store(1, std::memory_order_relaxed);
  e.attach(std::move(copy));
  const auto twin = [&](const os::guarded_fd& fd) {
    unique_fd other(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!other) detail::throw_system_error(errc::out_of_resources, "cannot duplicate the socket of a channel", errno);
    e.attach(std::move(other));
  };
  if (may_put(r)) twin(put_socket_);
  if (may_get(r)) twin(get_socket_);
  if (is_pipe()) (may_put(r) ? shared().writer : shared().reader).store(on_its_way, std::memory_order_release);
}

void ring_channel::adopt(ring_fds fds, role r) {
  const std::lock_guard lock(roles_mutex_);
  claim_end(r);
  take_fds(std::move(fds));
  raise_role(r);  // before the one that travelled goes with fds.memory
}

std::shared_ptr<detail::channel> make_ring_channel(const detail::channel_options& options) {
  auto channel = std::make_shared<ring_channel>(options);
  registry& all = registry::get();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.channels, [](const auto& entry) { return entry.second.expired(); });
  all.channels[os::identify(channel->memory_fd())] = channel;
  return channel;
}

detail::imported_handle import_ring_handle(detail::decoder& d, std::uint64_t expected_type) {
  std::uint8_t raw_role = 0, kind = 0;
  std::uint64_t type = 0;
  d.raw(&raw_role, 1);
  d.raw(&kind, 1);
  d.raw(&type, sizeof type);
  if (raw_role > static_cast<std::uint8_t>(role::whole_get) ||
      kind > static_cast<std::uint8_t>(detail::channel_kind::pipe))
    detail::throw_error(errc::bad_frame, "a handle arrived with role " + std::to_string(raw_role) +
                                             " of a channel of kind " + std::to_string(kind));
  const role r{raw_role};
  ring_fds fds;
  fds.memory = d.take_attachment();
  if (may_put(r)) check_socket(fds.put_socket = d.take_attachment());
  if (may_get(r)) check_socket(fds.get_socket = d.take_attachment());
  if (expected_type != 0 && type != expected_type)
    detail::throw_error(errc::type_mismatch, "a handle arrived whose channel carries another type of item");
  os::check_memfd(fds.memory.get(), file_bytes);
  const os::file_id id = os::identify(fds.memory.get());
  registry& all = registry::get();
  const std::lock_guard lock(all.mutex);
  std::weak_ptr<ring_channel>& known = all.channels[id];
  std::shared_ptr<ring_channel> channel = known.lock();
  if (channel) {
    channel->adopt(std::move(fds), r);
  } else {
    // Whoever sent it may have kept the description that it travelled with, or given it to others, too (a task does):
    // what is ours alone must go with us alone. That one holds the role until ours does, so that nobody sees a gap.
    const unique_fd travelled = std::exchange(fds.memory, os::reopen(fds.memory.get()));
    channel = std::make_shared<ring_channel>(std::move(fds), r);
    known = channel;
  }
  return {std::move(channel), r};
}

void leave_ring_channels() noexcept {
  registry& all = registry::get();
  std::vector<std::shared_ptr<ring_channel>> living;
  {
    const std::lock_guard lock(all.mutex);
    for (auto& [id, weak] : all.channels)
      if (auto channel = weak.lock()) living.push_back(std::move(channel));
  }
  for (const auto& channel : living) channel->leave_at_exit();
}

}  // namespace mp::ring
