#pragma once
/// @file
/// A run of shared memory that one large value lies in: what its owner has to know of it.
/// Not for users.
///
/// Threads:  thread-safe.            Processes: process-bound; readers are told its offset.
/// Source:   mp/detail/shared_heap.hpp.

#include <cstddef>
#include <cstdint>

namespace mp::detail {

class shared_heap;

struct shared_piece {
  shared_heap& heap;
  const std::uint64_t offset;  // in the heap's memory
  std::byte* at = nullptr;
  std::size_t bytes = 0;
};

/// Smaller values are not worth a piece.
inline constexpr std::size_t shared_piece_least = std::size_t{256} << 10;

/// At least `bytes` that nobody else has. Null: there are none to be had, or this process is a copy made by fork.
shared_piece* acquire_piece(shared_heap& from, std::size_t bytes) noexcept;
/// Nobody reads it any more.
void release_piece(shared_piece* piece) noexcept;

}  // namespace mp::detail
