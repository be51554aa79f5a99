// In a source of its own: a compiler that sees both ends takes malloc and delete for a mismatch.
// All forms for one object, or a sanitizer's own form would meet ours (std::stable_sort's buffer is a nothrow one).

#include "support/failing_new.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> until_failure{-1};
std::atomic<bool> has_failed{false};
thread_local bool is_spared = false;

bool fails_now() noexcept {
  if (is_spared || until_failure.load() < 0 || until_failure.fetch_sub(1) != 0) return false;
  has_failed = true;
  return true;
}

}  // namespace

void mp_test::fail_allocation(long n) noexcept {
  is_spared = true;
  until_failure = -1;
  if (n < 0) return;
  has_failed = false;
  until_failure = n;
}
bool mp_test::has_failed_allocation() noexcept { return has_failed; }

void* operator new(std::size_t size) {
  if (!fails_now())
    if (void* p = std::malloc(size ? size : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return fails_now() ? nullptr : std::malloc(size ? size : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
