// Shared memory and bells for upper floors. Must keep the order of a sleep: announce, barrier, look again, sleep; else
// a ring between the look and the sleep is lost.

#include "mp/detail/shared_block.hpp"

#include "channel/ring_sleep.hpp"
#include "mp/error.hpp"
#include "os/memfd.hpp"

#include <sys/mman.h>
#include <array>
#include <cerrno>
#include <climits>
#include <utility>

namespace mp::detail {

unique_fd shared_block::make(const char* label, std::size_t bytes) { return os::make_memfd(label, bytes); }

shared_block::shared_block(const unique_fd& memory, std::size_t offset, std::size_t bytes) {
  os::check_memfd(memory.get(), offset + bytes);
  if (const int problem = os::reserve_pages(memory.get(), offset, bytes))
    throw_system_error(errc::out_of_resources, "no shared memory", problem);
  void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), static_cast<off_t>(offset));
  if (at == MAP_FAILED) throw_system_error(errc::out_of_resources, "shared memory cannot be mapped", errno);
  data_ = static_cast<std::byte*>(at);
  size_ = bytes;
}

shared_block::shared_block(shared_block&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

shared_block& shared_block::operator=(shared_block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

shared_block::~shared_block() {
  if (data_) ::munmap(data_, size_);
}

void shared_block::release(const unique_fd& memory, std::size_t offset, std::size_t bytes) noexcept {
  os::release_pages(memory.get(), offset, bytes);
}

void shared_bell::join() noexcept {
  static const bool registered = os::register_heavy_barrier();
  if (!registered) fence_needed_.store(1, std::memory_order_seq_cst);
}

void shared_bell::wake() noexcept {
  asleep_.store(0, std::memory_order_seq_cst);
  event_.fetch_add(1, std::memory_order_seq_cst);
  os::futex_wake(event_, INT_MAX);
}

std::uint32_t shared_bell::announce() noexcept {
  const std::uint32_t event = event_.load(std::memory_order_seq_cst);
  asleep_.store(1, std::memory_order_seq_cst);
  if (fence_needed_.load(std::memory_order_relaxed))
    std::atomic_thread_fence(std::memory_order_seq_cst);
  else
    os::heavy_barrier();
  return event;
}

void shared_bell::wait(std::uint32_t event, time_point until, std::chrono::nanoseconds slice) noexcept {
  os::futex_wait(event_, event, until, slice);
}

void shared_bell::wait_beside(const robust_futexes& held, std::uint32_t event, time_point until,
                              std::chrono::nanoseconds slice) noexcept {
  std::array<os::futex_awaited, 32> words;
  std::size_t n = 0;
  words[n++] = {event_, event};
  for (const robust_futex* const f : held.span()) {
    const auto* const word = f->find_word();
    if (!word) continue;
    const std::uint32_t seen = word->load(std::memory_order_acquire);
    if ((seen & FUTEX_OWNER_DIED) != 0) return;
    words[n++] = {*word, seen};
  }
  if (n == 1 || !os::futex_wait_any({words.data(), n}, until, slice)) wait(event, until, slice);
}

std::chrono::nanoseconds spin_length() noexcept { return ring::spin_limit(); }
void spin_turn() noexcept { os::relax(); }
void spin_yield() noexcept { ring::offer_processor(); }

}  // namespace mp::detail
