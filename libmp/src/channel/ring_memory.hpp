#pragma once
/// @file
/// One process's view of a ring channel's memory: mapped piece by piece, pages reserved before they are touched.
///
/// Threads:  thread-safe.            Processes: process-bound; mappings stay until the object goes.

#include "channel/ring_layout.hpp"
#include "os/fork_guard.hpp"
#include "os/memfd.hpp"

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <vector>

namespace mp::ring {

/// Bytes that no participant of ours writes were found. Marks the channel and throws error{bad_frame}.
[[noreturn]] void damaged(control&, const char* what);

class memory {
public:
  /// Takes the memfd. `create` reserves the first pages; else the memory is checked: seals, size, magic, version.
  /// Throws error{out_of_resources}, error{bad_frame}.
  memory(unique_fd fd, bool create);
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;

  int fd() const noexcept { return fd_.get(); }

  control& head() const noexcept { return *control_; }
  /// How many extents there are; never more than can be.
  u32 extents() const noexcept { return control_->extents_used < max_extents ? control_->extents_used : max_extents; }
  participant& slot(u32 index) const noexcept { return participants_[index]; }
  std::atomic<u32>& next(u32 extent) const noexcept { return next_[extent]; }
  /// Maps what is needed on first use. Throws error{out_of_resources}.
  std::byte* extent(u32 index);
  /// Mapped from the start: they are needed where nothing may throw.
  body_entry& body(u32 index) noexcept { return bodies_[index]; }
  hand_cell& cell(u32 index) noexcept { return cells_[index]; }
  std::byte* body_bytes(const body_entry& entry);

  /// Reserves pages so that stores cannot fail. Throws error{out_of_resources}.
  void reserve(u64 offset, u64 bytes);
  void release(u64 offset, u64 bytes) noexcept { os::release_pages(fd(), offset, bytes); }

private:
  /// Maps [offset, offset + bytes) once; `where` is the published pointer.
  std::byte* map_once(std::atomic<std::byte*>& where, u64 offset, u64 bytes);

  os::guarded_fd fd_;
  os::mapping control_map_;
  control* control_ = nullptr;
  participant* participants_ = nullptr;
  std::atomic<u32>* next_ = nullptr;
  std::array<std::atomic<std::byte*>, 16> segments_{};  // log extents [0,4), [4,8), [8,16) ..
  os::mapping bodies_map_, cells_map_;
  body_entry* bodies_ = nullptr;
  hand_cell* cells_ = nullptr;

  std::mutex mutex_;  // guards the following
  std::vector<os::mapping> maps_;
  std::map<u64, os::mapping> body_maps_;  // by file offset of a chunk
};

}  // namespace mp::ring
