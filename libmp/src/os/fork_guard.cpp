// Raw forks: seen through a wiped page, cleaned up by a child hook. Must never take a lock in the hook: another thread
// of the parent may hold it for ever. Decision 0007 says what a raw fork may still do.

#include "os/fork_guard.hpp"

#include "mp/error.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include <array>
#include <cstddef>
#include <new>
#include <string>

namespace mp::os {
namespace {

// One bit per descriptor. 2^20 is the kernel's default ceiling (fs.nr_open); pages of it that are never touched cost
// nothing. A descriptor above it is not guarded.
constexpr std::size_t max_guarded = std::size_t{1} << 20;
constexpr std::size_t bits = 64;
std::array<std::atomic<std::uint64_t>, max_guarded / bits> guarded{};
std::atomic<std::size_t> highest_word{0};  // no bit is set in a word above it

struct fork_hook {
  void (*run)(void*) noexcept;
  void* context;
};
std::array<fork_hook, 16> hooks{};
std::atomic<std::size_t> hooks_reserved{0};
std::array<std::atomic<bool>, 16> hook_ready{};

std::atomic<std::uint64_t> counter{0};
std::atomic<std::uint64_t> fallback_word{0};

void in_child() noexcept {
  // Where the page is not wiped (no MADV_WIPEONFORK), this does it.
  if (auto* word = guard::generation_word) word->store(0, std::memory_order_relaxed);
  const std::size_t top = highest_word.load(std::memory_order_relaxed);
  for (std::size_t w = 0; w <= top; ++w) {
    std::uint64_t set = guarded[w].exchange(0, std::memory_order_relaxed);
    for (; set != 0; set &= set - 1) ::close(static_cast<int>(w * bits) + __builtin_ctzll(set));
  }
  for (std::size_t i = 0; i < hooks.size(); ++i)
    if (hook_ready[i].load(std::memory_order_acquire)) hooks[i].run(hooks[i].context);
}

std::atomic<std::uint64_t>* make_word() noexcept {
  void* page = ::mmap(nullptr, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::atomic<std::uint64_t>* word = &fallback_word;
  if (page != MAP_FAILED) {
    ::madvise(page, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), MADV_WIPEONFORK);
    word = new (page) std::atomic<std::uint64_t>(0);
  }
  ::pthread_atfork(nullptr, nullptr, [] { in_child(); });
  return word;
}

}  // namespace

namespace guard {

std::atomic<std::uint64_t>* generation_word = nullptr;

std::uint64_t new_generation() noexcept {
  // Set once, before any handle exists that could store a generation; later calls find it made.
  static std::atomic<std::uint64_t>* const word = make_word();
  generation_word = word;
  // The counter is ordinary memory: a child inherits its value and so gets another number than its parent had.
  std::uint64_t expected = 0;
  const std::uint64_t fresh = counter.fetch_add(1, std::memory_order_relaxed) + 1;
  return word->compare_exchange_strong(expected, fresh, std::memory_order_relaxed) ? fresh : expected;
}

// Before main, so that no two threads race to publish the word.
const std::uint64_t first_generation = fork_generation();

}  // namespace guard

void check_process(std::uint64_t made_in, const char* what) {
  if (made_in != fork_generation())
    detail::throw_error(errc::wrong_process, std::string(what) +
                                                 ": this handle was made in another process and copied here by fork(); "
                                                 "pass handles as arguments of an mp::process instead");
}

void close_on_fork(int fd) noexcept {
  if (fd < 0 || static_cast<std::size_t>(fd) >= max_guarded) return;
  const std::size_t w = static_cast<std::size_t>(fd) / bits;
  std::size_t top = highest_word.load(std::memory_order_relaxed);
  while (top < w && !highest_word.compare_exchange_weak(top, w, std::memory_order_relaxed)) {
  }
  guarded[w].fetch_or(std::uint64_t{1} << (static_cast<std::size_t>(fd) % bits), std::memory_order_relaxed);
}

void forget_on_fork(int fd) noexcept {
  if (fd < 0 || static_cast<std::size_t>(fd) >= max_guarded) return;
  guarded[static_cast<std::size_t>(fd) / bits].fetch_and(~(std::uint64_t{1} << (static_cast<std::size_t>(fd) % bits)),
                                                         std::memory_order_relaxed);
}

bool add_fork_hook(void (*hook)(void*) noexcept, void* context) noexcept {
  const std::size_t i = hooks_reserved.fetch_add(1, std::memory_order_relaxed);
  if (i >= hooks.size()) return false;
  hooks[i] = {hook, context};
  hook_ready[i].store(true, std::memory_order_release);
  return true;
}

}  // namespace mp::os
