// Large values in shared memory. Must hand out no bytes twice, and must let a copy made by fork touch nothing: its
// lists are copies, the memory is not.

#include "mp/detail/shared_heap.hpp"

#include "mp/detail/populate.hpp"
#include "mp/error.hpp"
#include "os/fork_guard.hpp"
#include "os/memfd.hpp"

#include <sys/mman.h>
#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

namespace mp::detail {
namespace {

constexpr std::size_t page = 64 * 1024;  // the largest that Linux has

constexpr std::size_t whole_pages(std::size_t n) noexcept { return (n + page - 1) / page * page; }

struct size_class {
  std::size_t number, bytes;
};
// Four a doubling: at most a quarter is given away, of address space only.
constexpr size_class class_of(std::size_t bytes) noexcept {
  const auto doublings = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;
  const std::size_t base = std::size_t{1} << doublings, step = base / 4;
  const std::size_t steps = (bytes - base + step - 1) / step;  // 1 to 4
  return {4 * doublings + steps - 1, base + steps * step};
}
static_assert(class_of((1 << 20) + 1).bytes == (1 << 20) + (1 << 18));
static_assert(class_of(1 << 20).bytes == 1 << 20);
static_assert(class_of(1 << 20).number + 1 == class_of((1 << 20) + 1).number);

}  // namespace

shared_heap::shared_heap(const unique_fd& memory, std::uint64_t offset, std::uint64_t bytes) noexcept
    : memory_(memory), end_(offset + bytes), made_in_(os::fork_generation()), at_(offset) {}

bool shared_heap::is_copy() const noexcept { return made_in_ != os::fork_generation(); }
void shared_heap::check_process(const char* what) const { os::check_process(made_in_, what); }

shared_piece* shared_heap::acquire(std::size_t bytes) noexcept {
  // Before the lock: the copy's may be held by a thread that it has not.
  if (is_copy()) return nullptr;
  try {
    return take(whole_pages(std::max(bytes, shared_piece_least)));
  } catch (...) {
    return nullptr;
  }
}

shared_heap::piece* shared_heap::take(std::size_t bytes) {
  const auto [number, size] = class_of(bytes);
  if (number >= classes) return nullptr;
  piece* p = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (free_[number]) {
      p = std::exchange(free_[number], free_[number]->next);
      idle_bytes_ -= p->bytes;
    } else if (bare_[number]) {
      p = std::exchange(bare_[number], bare_[number]->next);
    } else if (size <= end_ - at_) {
      auto made = std::unique_ptr<piece>(new piece{{*this, at_}, size});
      p = all_.emplace_back(std::move(made)).get();
      at_ += size;
    }
  }
  if (!p) return p;
  busy_bytes_ += p->bytes;
  if (p->bytes >= bytes) return p;
  try {
    p->block = shared_block(memory_, static_cast<std::size_t>(p->offset), bytes);
  } catch (...) {
    // Pages may have been reserved that could not be mapped.
    shared_block::release(memory_, static_cast<std::size_t>(p->offset) + p->bytes, bytes - p->bytes);
    release(*p);
    throw;
  }
  p->at = p->block.data();
  busy_bytes_ += bytes - std::exchange(p->bytes, bytes);
  populate(p->at, bytes);
  return p;
}

void shared_heap::release(shared_piece& gone) noexcept {
  if (is_copy()) return;
  piece& p = static_cast<piece&>(gone);
  auto& list = p.bytes != 0 ? free_ : bare_;
  busy_bytes_ -= p.bytes;
  const std::lock_guard lock(mutex_);
  idle_bytes_ += p.bytes;
  p.next = std::exchange(list[class_of(p.size).number], &p);
}

void shared_heap::trim() noexcept {
  const auto is_enough = [this] {
    return idle_bytes_.load(std::memory_order_relaxed) <= most_idle_bytes_.load(std::memory_order_relaxed);
  };
  if (is_enough() || is_copy()) return;
  for (;;) {
    piece* p = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (is_enough()) return;
      for (std::size_t number = classes; !p;)
        if (free_[--number]) p = std::exchange(free_[number], free_[number]->next);
      idle_bytes_ -= p->bytes;
    }
    shared_block::release(memory_, static_cast<std::size_t>(p->offset), p->bytes);
    { const shared_block unmapped = std::move(p->block); }
    p->bytes = 0;
    release(*p);
  }
}

shared_piece* acquire_piece(shared_heap& from, std::size_t bytes) noexcept { return from.acquire(bytes); }
void release_piece(shared_piece* piece) noexcept { piece->heap.release(*piece); }

shared_windows::~shared_windows() {
  while (!windows_.empty()) drop_first();
}

void shared_windows::drop_first() noexcept {
  const window w = windows_.front();
  windows_.erase(windows_.begin());
  open_bytes_ -= w.size;
  ::munmap(const_cast<std::byte*>(w.at), w.size);
}

std::span<const std::byte> shared_windows::look(std::uint64_t offset, std::size_t bytes, bool writes) {
  const int access = writes ? PROT_READ | PROT_WRITE : PROT_READ;
  const auto known =
      std::find_if(windows_.begin(), windows_.end(), [&](const window& w) { return w.offset == offset; });
  if (known != windows_.end()) {
    std::rotate(known, known + 1, windows_.end());
    window& last = windows_.back();
    if (last.size >= bytes) {
      if (last.writes != writes && ::mprotect(const_cast<std::byte*>(last.at), last.size, access) != 0)
        throw_system_error(errc::out_of_resources, "the access to a large argument cannot be changed", errno);
      last.writes = writes;
      return {last.at, bytes};
    }
    std::rotate(windows_.begin(), windows_.end() - 1, windows_.end());
    drop_first();
  }
  const std::size_t size = whole_pages(bytes);
  while (!windows_.empty() && open_bytes_ + size > most_bytes_) drop_first();
  os::check_memfd(memory_.get(), offset + bytes);
  windows_.reserve(windows_.size() + 1);
  void* const at = ::mmap(nullptr, size, access, MAP_SHARED, memory_.get(), static_cast<off_t>(offset));
  if (at == MAP_FAILED) throw_system_error(errc::out_of_resources, "a large argument cannot be mapped", errno);
  windows_.push_back({offset, size, static_cast<const std::byte*>(at), writes});
  open_bytes_ += size;
  return {windows_.back().at, bytes};
}

void shared_windows::close() noexcept {
  while (open_bytes_ > most_bytes_) drop_first();
}

}  // namespace mp::detail
