#pragma once
/// @file
/// A unit in a lane's task pipe: packed by the pool, opened by the worker.
///
/// Shape:    see pool_record.hpp. What is small goes through the pipe; what is large is written where it stays in the
///           pipe's memory, or lies in the pool's heap, where the worker reads it.
/// Threads:  thread-bound.           Processes: both sides.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/channel.hpp"
#include "mp/detail/pool_job.hpp"
#include "mp/detail/pool_record.hpp"
#include "mp/detail/shared_heap.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace mp::detail {

/// A unit's record and its bytes, which must outlive it.
class task_parcel {
public:
  task_parcel(const task_record& record, const unit_bytes& bytes) noexcept;
  task_parcel(const task_parcel&) = delete;
  task_parcel& operator=(const task_parcel&) = delete;
  ~task_parcel() = default;
  /// Refers to this.
  outgoing pack() noexcept;

private:
  static constexpr std::size_t small = 1024;
  void fill(std::span<std::byte> at) const noexcept;

  task_record record_;
  shared_place place_;
  std::span<const std::byte> rest_;
  std::array<std::byte, small> room_;
};

/// What is behind a unit's record.
struct unit_parts {
  task_more more{};
  std::string_view key{};
  std::span<const std::byte> rest{};   // the callable's state, the items: not to be read before one is claimed
  std::span<const std::byte> large{};  // all of the unit, where it lies in the heap
};
/// `heap`: null for a unit that will not be run. Throws: error{out_of_resources}: no memory to see a large one.
unit_parts open_unit(const task_record& record, std::span<const std::byte> behind, shared_windows* heap);

}  // namespace mp::detail
