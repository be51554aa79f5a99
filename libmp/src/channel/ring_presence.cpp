// Slots and liveness. Must never call a stopped process dead, nor a recycled pid alive.

#include "channel/ring_presence.hpp"

#include "mp/error.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <cstdio>
#include <cstring>
#include <string>

namespace mp::ring {
namespace {

struct process_times {
  bool found = false, zombie = false;
  u64 start = 0;
};

/// Reads state and start time of /proc/PID/stat. The command name may hold anything but is closed by the last ')'.
process_times look_up(u32 pid) noexcept {
  char path[48];
  std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
  const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  char text[1024];
  const ssize_t got = ::read(fd.get(), text, sizeof text - 1);
  if (got <= 0) return {};
  text[got] = 0;
  const char* at = std::strrchr(text, ')');
  if (!at) return {};
  char state = 0;
  unsigned long long start = 0;
  if (std::sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
                  &start) != 2)
    return {};
  return {true, state == 'Z' || state == 'X', start};
}

}  // namespace

bool presence::try_slot(u32 slot) {
  const u64 offset = participants_offset + slot * sizeof(participant);
  if (offset % page_bytes == 0 && slot != 0) memory_.reserve(offset, sizeof(participant));
  return os::lock_exclusive(memory_.fd(), slot_presence + slot);
}

void presence::occupy(u32 slot) {
  participant& mine = memory_.slot(slot);
  mine.pid = static_cast<u32>(::getpid());
  mine.start_time = look_up(mine.pid).start;
  ::prctl(PR_GET_NAME, mine.name);
  std::atomic<u32>& used = memory_.head().participants_used;
  for (u32 seen = used.load(); seen <= slot && !used.compare_exchange_weak(seen, slot + 1);) {
  }
  const u32 epoch = mine.epoch.load(std::memory_order_relaxed) + 1;
  predecessor_ = make_identity(epoch - 1, slot);
  mine.epoch.store(epoch, std::memory_order_release);
  self_ = make_identity(epoch, slot);
}

void presence::join() {
  for (u32 slot = 0; slot < max_participants; ++slot)
    if (try_slot(slot)) return occupy(slot);
  detail::throw_error(errc::out_of_resources,
                      "a channel is held by " + std::to_string(max_participants) +
                          " processes already: give fewer of them a handle, or use several channels");
}

void presence::leave() noexcept {
  if (!self_) return;
  participant& mine = memory_.slot(self_slot());
  mine.epoch.store(mine.epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  os::unlock(memory_.fd(), slot_presence + self_slot());
  self_ = 0;
}

bool presence::is_dead(identity id) const noexcept {
  if (id == self_) return false;
  const u32 slot = slot_of(id);
  if (slot >= max_participants) return true;  // no participant of ours wrote this word
  const participant& who = memory_.slot(slot);
  if (make_identity(who.epoch.load(std::memory_order_acquire), slot) != id) return true;
  if (os::locked_by_other(memory_.fd(), slot_presence + slot)) return false;
  const process_times now = look_up(who.pid);
  return !now.found || now.zombie || now.start != who.start_time;
}

void presence::hold(u64 byte, bool held) noexcept {
  if (held)
    os::lock_shared(memory_.fd(), byte);
  else
    os::unlock(memory_.fd(), byte);
}

}  // namespace mp::ring
