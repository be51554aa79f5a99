#pragma once
/// @file
/// Fresh memory in one call to the kernel instead of one page fault per page: for values of a megabyte and more.
/// Not for users.
///
/// Threads:  thread-safe.            Processes: any.
/// Source:   madvise(2) MADV_POPULATE_WRITE; bench/README.md, where the time of 8 MiB goes.

#include <cstddef>

namespace mp::detail {

/// From this size on a fault per page is most of what a copy costs.
inline constexpr std::size_t populate_from = std::size_t{1} << 20;

/// Gives pages to memory that is about to be written whole, unless it has some. An advice: nothing depends on it.
void populate(void* memory, std::size_t bytes) noexcept;

}  // namespace mp::detail
