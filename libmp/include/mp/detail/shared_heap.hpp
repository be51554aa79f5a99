#pragma once
/// @file
/// Memory for large values that one process writes and others read where they lie.
/// Not for users, but for upper floors that pass large values without a channel.
///
/// Model:    an allocator over a part of shared memory; only its process allocates. Readers are told offset and length.
/// Shape:    pieces in four sizes a doubling; free ones keep their pages, up to 64 MiB together after each trim: fresh
///           memory costs more than to copy what goes in.
/// Threads:  see each class.         Processes: process-bound (the memory is shared).
/// Death:    nothing is owned by a reader; the owner's memory goes with the last descriptor of it.
/// Source:   doc/decisions/0009-pools.md; bench/README.md, where the time of 8 MiB goes.

#include "mp/detail/shared_block.hpp"
#include "mp/detail/shared_piece.hpp"
#include "mp/unique_fd.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace mp::detail {

/// The writing side.
///
/// Threads:  thread-safe.   Processes: process-bound: a copy by fork gets no memory, and frees none.
class shared_heap {
public:
  /// Uses `bytes` of `memory` from `offset` on; the descriptor must outlive it.
  shared_heap(const unique_fd& memory, std::uint64_t offset, std::uint64_t bytes) noexcept;
  shared_heap(const shared_heap&) = delete;
  shared_heap& operator=(const shared_heap&) = delete;
  ~shared_heap() = default;

  /// As acquire_piece and release_piece.
  shared_piece* acquire(std::size_t bytes) noexcept;
  void release(shared_piece& p) noexcept;
  /// Gives pages of free pieces back, down to 64 MiB. Takes a while: no lock should be held that others wait for.
  void trim() noexcept;
  /// Are as many bytes in use as are kept for use? More would be fresh memory.
  bool is_used_up() const noexcept {
    return busy_bytes_.load(std::memory_order_relaxed) >= most_idle_bytes_.load(std::memory_order_relaxed);
  }
  /// No more will be wanted: the next trim leaves nothing.
  void close() noexcept { most_idle_bytes_.store(0, std::memory_order_relaxed); }
  /// Throws: error{wrong_process} in a copy made by fork.
  void check_process(const char* what) const;
  bool is_copy() const noexcept;

private:
  struct piece : shared_piece {
    std::size_t size;       // of its class: so much may be mapped
    piece* next = nullptr;  // of the free ones of its class
    shared_block block{};   // what is mapped; its pages are reserved
  };
  static constexpr std::size_t classes = 4 * 34;  // up to 8 GiB
  piece* take(std::size_t bytes);

  const unique_fd& memory_;
  const std::uint64_t end_;
  const std::uint64_t made_in_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::uint64_t at_;                                                 // where no piece was yet
  std::atomic<std::size_t> idle_bytes_{0};                           // of pieces in free_
  std::atomic<std::size_t> most_idle_bytes_{std::size_t{64} << 20};  // not guarded
  std::atomic<std::size_t> busy_bytes_{0};                           // of pieces that somebody has; not guarded
  std::array<piece*, classes> free_{}, bare_{};                      // with their pages, and without
  std::vector<std::unique_ptr<piece>> all_;
};

/// The reading side: windows on what was written, read-only unless asked for; the last ones are kept open.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class shared_windows {
public:
  /// `most_bytes`: how much is kept open; 0: nothing beyond `close`.
  shared_windows(const unique_fd& memory, std::size_t most_bytes) noexcept : memory_(memory), most_bytes_(most_bytes) {}
  shared_windows(const shared_windows&) = delete;
  shared_windows& operator=(const shared_windows&) = delete;
  ~shared_windows();

  /// What lies at `offset`, a whole page; valid until the next look, or `close`. Reads nothing of it. `writes`: it may be
  /// written to. Throws: error{out_of_resources}, error{bad_frame}.
  std::span<const std::byte> look(std::uint64_t offset, std::size_t bytes, bool writes = false);
  /// The last one was looked at.
  void close() noexcept;

private:
  struct window {
    std::uint64_t offset;
    std::size_t size;
    const std::byte* at;
    bool writes;
  };
  void drop_first() noexcept;

  const unique_fd& memory_;
  const std::size_t most_bytes_;
  std::size_t open_bytes_ = 0;
  std::vector<window> windows_;  // the one used last is the last
};

}  // namespace mp::detail
