#pragma once
/// @file
/// What a pool's core and the typed calls share: units (items on their way) and jobs (what becomes of them).
/// Not for users: `pool` is their way in.
///
/// Shape:    a job is one call (submit, map ..); it owns units, runs of its items. A unit is in the backlog, in one
///           worker's lane, or with nobody.
/// Threads:  what is marked "locked" is called with the pool's lock held and runs no code of the user.
/// Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/future_state.hpp"
#include "mp/detail/pool_call.hpp"
#include "mp/detail/shared_piece.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/error.hpp"
#include "mp/pool_options.hpp"
#include "mp/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace mp::detail {

class pool_job;
class pool_core;

/// Bytes that are often few: 24 of them need no memory of their own; many lie where workers can read them. At most
/// 4 GiB, as any message.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class unit_bytes {
public:
  unit_bytes() noexcept = default;
  unit_bytes(const unit_bytes&) = delete;
  unit_bytes& operator=(const unit_bytes&) = delete;
  ~unit_bytes() { drop_memory(); }
  std::size_t size() const noexcept { return size_; }
  std::byte* data() noexcept { return is_large() ? large_.at : small_; }
  std::span<const std::byte> view() const noexcept { return {is_large() ? large_.at : small_, size_}; }
  std::span<std::byte> room() noexcept { return {data(), room_}; }
  void set_size(std::size_t n) noexcept { size_ = static_cast<std::uint32_t>(n); }
  void clear() noexcept { size_ = 0; }
  /// Where workers can read them; null: nowhere.
  const shared_piece* shared() const noexcept { return is_large() ? large_.shared : nullptr; }
  /// Becomes what `other` was; that has nothing left.
  void take(unit_bytes& other) noexcept {
    drop_memory();
    size_ = std::exchange(other.size_, 0);
    room_ = std::exchange(other.room_, small_room);
    if (is_large())
      large_ = other.large_;
    else
      std::memcpy(small_, other.small_, sizeof small_);
  }
  /// Gives back what others could use.
  void drop_shared() noexcept {
    if (shared()) drop_memory();
  }
  /// Room for `n` bytes, of this heap if they are many; keeps what is there. Throws: std::bad_alloc, error{too_large}.
  void reserve(std::size_t n, shared_heap* heap = nullptr) {
    if (n <= room_) return;
    if (n > UINT32_MAX)
      throw_error(errc::too_large, "arguments of " + std::to_string(n) + " bytes: at most 4 GiB travel at once");
    large_memory more{nullptr, nullptr};
    if (heap && n >= shared_piece_least) more.shared = acquire_piece(*heap, n);
    if (more.shared) {
      more.at = more.shared->at;
      n = std::min<std::size_t>(more.shared->bytes, UINT32_MAX);
    } else {
      more.at = new std::byte[n];
    }
    const std::uint32_t size = size_;
    std::memcpy(more.at, data(), size);
    drop_memory();
    size_ = size;
    large_ = more;
    room_ = static_cast<std::uint32_t>(n);
  }
  void append(std::span<const std::byte> bytes) {
    const std::size_t wanted = size_ + bytes.size();
    if (wanted > room_) reserve(std::max(wanted, grown()));
    if (!bytes.empty()) std::memcpy(data() + size_, bytes.data(), bytes.size());
    size_ = static_cast<std::uint32_t>(wanted);
  }
  /// What to reserve where more is to come: twice of what there is.
  std::size_t grown() const noexcept { return std::min<std::size_t>(2 * std::size_t{room_}, UINT32_MAX); }

private:
  static constexpr std::uint32_t small_room = 24;
  struct large_memory {
    std::byte* at;
    shared_piece* shared;  // null: it is ours alone
  };
  bool is_large() const noexcept { return room_ != small_room; }
  void drop_memory() noexcept {
    if (!is_large()) return;
    if (large_.shared)
      release_piece(large_.shared);
    else
      delete[] large_.at;
    size_ = 0;
    room_ = small_room;
  }

  std::uint32_t size_ = 0, room_ = small_room;
  union {
    std::byte small_[small_room];
    large_memory large_;
  };
};

/// What few units have.
struct unit_extras {
  std::vector<std::uint32_t> ends{};      // where each item ends in the bytes, if there are several
  std::vector<unique_fd> fds{};           // that travel along: the callable's, then the last item's
  std::size_t state_fds = 0;              // how many are the callable's: every part of the unit needs them
  std::int32_t seat = -1;                 // whose worker must run it; -1: any
  std::vector<mp::post_mortem> deaths{};  // of the attempts so far
  time_point not_before{};                // of the next attempt
};

/// Items of one job that go to one worker at a time.
struct pool_unit {
  pool_unit* next = nullptr;  // in the list that it is in
  pool_job* job = nullptr;    // counted
  std::uint64_t first = 0;    // index of its first item in the job
  task_id id = 0;             // of that item; the others follow
  std::uint32_t count = 0;
  std::uint32_t resolved = 0;  // items that have their answer
  std::uint32_t number = 0;    // in its lane
  std::int16_t lane = -1;      // -1: in none
  std::uint16_t attempt = 0;   // how often it was started
  std::uint32_t prefix = 0;    // bytes in front of the items: deadline and key, the callable's state
  std::uint32_t ns = 0;        // how long it will take, about, while it is in a lane
  unit_bytes bytes{};
  std::unique_ptr<unit_extras> extras{};

  unit_extras& more() {
    if (!extras) extras = std::make_unique<unit_extras>();
    return *extras;
  }
};

/// One call of a pool.
///
/// Threads:  see each function.   Processes: process-bound.
class pool_job {
public:
  pool_job(const pool_job&) = delete;
  pool_job& operator=(const pool_job&) = delete;

  virtual void hold() noexcept = 0;
  /// Lets go; true: it was the last owner, who calls destroy() next, without the lock.
  [[nodiscard]] virtual bool drop() noexcept = 0;
  virtual void destroy() noexcept = 0;
  /// Not locked: the user's destructors may run.
  void let_go() noexcept {
    if (drop()) destroy();
  }

  /// Locked. Values of `count` items from `first` on. Throws: error{undecodable}; then none of them was taken.
  virtual void accept(std::uint64_t first, std::uint32_t count, std::span<const std::byte> values,
                      std::vector<unique_fd>&& fds) = 0;
  /// Locked. The value of one item: the elements of a span, which are a part of its unit's bytes, `there`. They may be
  /// taken. Throws: error{undecodable}; then it was not taken.
  virtual void accept_place(std::uint64_t item, std::span<const std::byte> elements, unit_bytes& there) {
    static_cast<void>(item), static_cast<void>(elements), static_cast<void>(there);
    throw_error(errc::undecodable, "a result that lies in its arguments, of a task that returns no span");
  }
  /// Locked. The answer of one item is an error.
  virtual void fail(std::uint64_t item, std::exception_ptr problem) noexcept = 0;
  /// Locked. A unit of it that nothing refers to any more.
  virtual void recycle(pool_unit* unit) noexcept = 0;
  /// Locked. Something of it was resolved; `left` items of what was submitted have no answer yet. True: finish() is to
  /// be called.
  virtual bool progressed(std::uint64_t left) noexcept = 0;
  /// Locked. How many items were read and not taken by whoever consumes the answers.
  virtual std::uint64_t ahead() const noexcept { return unresolved; }
  /// Without the lock, once: the answer is complete.
  virtual void finish() noexcept = 0;

  // Set before the first unit is submitted.
  std::unique_ptr<const task_options> options{};  // null: the pool's defaults, no key

  // Locked.
  std::uint64_t unresolved = 0;  // items submitted and without answer
  pool_job* next_finished = nullptr;
  std::uint32_t function = 0;  // its number in the pool; set before the first unit is submitted
  bool stop_asked = false;     // cancelled: what is not done ends

protected:
  pool_job() = default;
  ~pool_job() = default;
};

/// Where items come from that are read as they are needed. Not locked: runs the user's code, on the caller's thread, and
/// keeps what that throws.
///
/// Threads:  thread-bound.   Processes: process-bound.
class pool_feeder {
public:
  /// Writes up to `most` items into a unit of the job; null: there are none left.
  virtual pool_unit* next(std::uint32_t most) = 0;
  /// How many are left, if that is known; else the largest number.
  virtual std::uint64_t left() const noexcept = 0;
  /// What the input threw; then it has ended.
  virtual std::exception_ptr problem() const noexcept = 0;
  /// How many were read.
  virtual std::uint64_t read() const noexcept = 0;
  /// Is there nothing left to read? Asks the input.
  virtual bool is_exhausted() = 0;
  virtual ~pool_feeder() = default;

protected:
  pool_feeder() = default;
};

}  // namespace mp::detail
