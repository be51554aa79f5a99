#pragma once
/// @file
/// Shared memory without a name: a memfd of final size, sealed; pages are reserved and given back inside it.
///
/// Shape:    the size is final (sealed against shrinking and growing), pages are reserved by fallocate: a store can
///           then never meet SIGBUS. Mapping happens in pieces.
/// Source:   memfd_create(2), fcntl(2) seals; MEASURED E8, E23.

#include "mp/unique_fd.hpp"

#include <sys/types.h>
#include <cstddef>
#include <cstdint>

namespace mp::os {

/// Makes a memfd of `bytes` (sparse: nothing is reserved) and seals its size. Throws error{out_of_resources}.
unique_fd make_memfd(const char* label, std::uint64_t bytes);

/// Refuses what is no memfd sealed as make_memfd does, or smaller than `least` bytes. Throws error{bad_frame}.
void check_memfd(int fd, std::uint64_t least);

/// Reserves pages, so that stores cannot fail later; 0 or errno.
int reserve_pages(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept;
/// Gives pages back; their content becomes zero.
void release_pages(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept;

/// A second, independent open file description of the same memory (its own OFD locks). Throws error{out_of_resources}.
unique_fd reopen(int fd);

/// What the kernel calls the same memory in every process.
struct file_id {
  std::uint64_t device = 0, inode = 0;
  friend auto operator<=>(const file_id&, const file_id&) = default;
};
file_id identify(int fd);

/// Owns one mapping.
class mapping {
public:
  mapping() noexcept = default;
  /// Maps `bytes` of `fd` from `offset`, shared, readable and writable. Throws error{out_of_resources}.
  mapping(int fd, std::uint64_t offset, std::size_t bytes);
  mapping(mapping&& other) noexcept;
  mapping& operator=(mapping&& other) noexcept;
  ~mapping();

  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// -- OFD locks: owned by an open file description, freed by the kernel when its last reference goes -------------------

/// Takes a read lock on one byte; never waits for long (nobody takes write locks on presence bytes).
bool lock_shared(int fd, std::uint64_t byte) noexcept;
/// Takes a write lock on one byte; false: somebody else has it.
bool lock_exclusive(int fd, std::uint64_t byte) noexcept;
void unlock(int fd, std::uint64_t byte) noexcept;
/// Does another open file description hold a lock (of any kind) on this byte?
bool locked_by_other(int fd, std::uint64_t byte) noexcept;

}  // namespace mp::os
