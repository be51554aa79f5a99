// Held by a pthread mutex, because a thread has one list of robust words and it is the C library's. Must find the word
// by what the kernel was told, not by how that library draws its mutex.

#include "mp/detail/robust_futex.hpp"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mp::detail {
namespace {

pthread_mutex_t* make_mutex(std::byte* at) noexcept {
  auto* const mutex = reinterpret_cast<pthread_mutex_t*>(at);
  pthread_mutexattr_t how;
  if (::pthread_mutexattr_init(&how) != 0) return nullptr;
  const bool made = ::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0 &&
                    ::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0 &&
                    ::pthread_mutex_init(mutex, &how) == 0;
  ::pthread_mutexattr_destroy(&how);
  return made ? mutex : nullptr;
}

}  // namespace

void robust_futex::hold() noexcept {
  static_assert(sizeof(pthread_mutex_t) <= sizeof mutex_);
  auto* const mutex = make_mutex(mutex_);
  if (!mutex || ::pthread_mutex_lock(mutex) != 0) return;
  // What was locked last is the first of the list.
  ::robust_list_head* head = nullptr;
  std::size_t size = 0;
  if (::syscall(SYS_get_robust_list, 0, &head, &size) != 0 || size != sizeof *head) return;
  constexpr std::uintptr_t is_inheriting = 1;
  const auto node = reinterpret_cast<std::uintptr_t>(head->list.next) & ~is_inheriting;
  const auto at = node + static_cast<std::uintptr_t>(head->futex_offset) - reinterpret_cast<std::uintptr_t>(mutex_);
  if (at > sizeof mutex_ - sizeof(word) || at % alignof(word) != 0) return;
  auto& found = *reinterpret_cast<word*>(mutex_ + at);
  if ((found.load(std::memory_order_relaxed) & FUTEX_TID_MASK) != static_cast<std::uint32_t>(::gettid())) return;
  // Else the kernel would wake nobody: it does not know who sleeps.
  found.fetch_or(FUTEX_WAITERS, std::memory_order_relaxed);
  offset_.store(static_cast<std::uint32_t>(at) + 1, std::memory_order_release);
}

const robust_futex::word* robust_futex::find_word() const noexcept {
  const std::uint32_t offset = offset_.load(std::memory_order_acquire);
  if (offset == 0 || offset - 1 > sizeof mutex_ - sizeof(word) || (offset - 1) % alignof(word) != 0) return nullptr;
  return reinterpret_cast<const word*>(mutex_ + offset - 1);
}

bool robust_futex::is_let_go() const noexcept {
  const word* const found = find_word();
  return found && (found->load(std::memory_order_acquire) & FUTEX_OWNER_DIED) != 0;
}

}  // namespace mp::detail
