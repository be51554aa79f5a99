#include "count_requests.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> largest_request{0};
std::atomic<bool> counting{false};

void* take(std::size_t n) noexcept {
  if (counting && n > largest_request) largest_request = n;
  return std::malloc(n != 0 ? n : 1);
}

}  // namespace

void* operator new(std::size_t n) {
  if (void* p = take(n)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return take(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace mp_test {

count_requests::count_requests() noexcept {
  largest_request = 0;
  counting = true;
}
count_requests::~count_requests() { counting = false; }
std::size_t count_requests::largest() const noexcept { return largest_request; }

}  // namespace mp_test
