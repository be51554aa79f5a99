// Handles that leave and arrive, and which channels this process has. Must leave no moment in which a handle on its way is
// nobody's: the one that travelled holds its role until the one that arrives does. Decision 0006.

#include "channel/ring_channel.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"
#include "os/per_process.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <cstring>
#include <map>
#include <string>
#include <utility>

namespace mp::ring {
namespace {

/// Every channel of this process by its memory's identity. A forked child starts with a new one.
struct ring_registry {
  std::mutex mutex;
  std::map<os::file_id, std::weak_ptr<ring_channel>> channels;
};
ring_registry& the_registry() { return os::one_per_process<ring_registry>(); }

void check_socket(const unique_fd& fd) {
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISSOCK(info.st_mode))
    detail::throw_error(errc::bad_frame, "a handle of a channel arrived without its socket");
}

}  // namespace

// An entry keeps the memory of the object it names, so it goes with it. A newer object may have the place by now.
void forget_channel(const os::file_id& id) noexcept {
  ring_registry& all = the_registry();
  const std::lock_guard lock(all.mutex);
  const auto found = all.channels.find(id);
  if (found != all.channels.end() && found->second.expired()) all.channels.erase(found);
}

// -- the ends of a pipe ---------------------------------------------------------------------------------------------------

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

// -- leaving and arriving -------------------------------------------------------------------------------------------------

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
  ring_registry& all = the_registry();
  const std::lock_guard lock(all.mutex);
  all.channels[channel->id()] = channel;
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
  ring_registry& all = the_registry();
  std::shared_ptr<ring_channel> channel;  // before the lock: if it is the last owner, its end takes the lock, too
  const std::lock_guard lock(all.mutex);
  if (const auto known = all.channels.find(id); known != all.channels.end()) channel = known->second.lock();
  if (channel) {
    channel->adopt(std::move(fds), r);
  } else {
    // Whoever sent it may have kept the description that it travelled with, or given it to others, too (a task does):
    // what is ours alone must go with us alone. That one holds the role until ours does, so that nobody sees a gap.
    const unique_fd travelled = std::exchange(fds.memory, os::reopen(fds.memory.get()));
    channel = std::make_shared<ring_channel>(std::move(fds), r);
    all.channels[id] = channel;
  }
  return {std::move(channel), r};
}

void leave_ring_channels() noexcept {
  ring_registry& all = the_registry();
  std::vector<std::shared_ptr<ring_channel>> living;
  {
    const std::lock_guard lock(all.mutex);
    for (auto& [id, weak] : all.channels)
      if (auto channel = weak.lock()) living.push_back(std::move(channel));
  }
  for (const auto& channel : living) channel->leave_at_exit();
}

}  // namespace mp::ring
