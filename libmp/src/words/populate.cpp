// Pages for memory that is about to be written. Must never be more than an advice: old kernels refuse it.

#include "mp/detail/populate.hpp"

#include <sys/mman.h>
#include <unistd.h>
#include <cstdint>

namespace mp::detail {

void populate(void* memory, std::size_t bytes) noexcept {
#ifdef MADV_POPULATE_WRITE
  constexpr int populate_write = MADV_POPULATE_WRITE;
#else
  constexpr int populate_write = 23;  // younger than some headers
#endif
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t begin = (address + page - 1) / page * page, end = (address + bytes) / page * page;
  if (begin >= end) return;
  // Memory that an allocator uses again has its pages: its last one speaks for all.
  unsigned char there = 0;
  if (::mincore(reinterpret_cast<void*>(end - page), page, &there) == 0 && (there & 1) != 0) return;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, populate_write);
}

}  // namespace mp::detail
