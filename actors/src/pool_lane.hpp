#pragma once
/// @file
/// One worker as its pool sees it: the process, the two pipes, what is in flight.
///
/// Threads:  thread-bound: guarded by the pool's lock.   Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "lane_layout.hpp"
#include "mp/detail/pool_job.hpp"
#include "mp/process.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mp::detail {

/// A unit that has to end, and when its worker is killed if it does not.
struct pending_kill {
  std::uint32_t number = 0;  // of the unit
  std::uint32_t item = 0;    // of it; for a deadline: what is cancelled ends whichever it is at
  death why = death::unknown;
  time_point at{};
};

/// What was read of a draft while its worker went on.
struct peeked_draft {
  std::uint32_t unit = 0, first = 0;  // whose it is, as the worker names it
  std::uint32_t items = 0;
  std::size_t bytes = 0;
};

class pool_lane {
public:
  enum class life : unsigned char { starting, running, leaving, ended };

  // Set once.
  std::uint64_t serial = 0;  // of all lanes of the pool
  std::uint32_t index = 0;   // of its memory
  std::uint32_t seat = 0;    // whose worker it is
  std::string name;
  shared_block block;
  lane_page* page = nullptr;
  const std::byte* draft = nullptr;
  handle tasks, results;
  mp::process process;

  life state = life::starting;
  bool must_go = false;  // after what is in flight: replaced, or not needed any more
  bool told_to_leave = false;
  bool killed = false;             // by us
  std::uint32_t put = 0, got = 0;  // numbers: of the next unit that goes in, of the oldest that has no answer
  std::uint32_t in_flight = 0;     // of them not taken back
  std::uint64_t ahead_ns = 0;      // how long those will take, about
  std::array<pool_unit*, lane_slots> flight{};  // null: taken back, or over
  std::vector<bool> knows;                      // functions
  int least_priority = 0;                       // of what went in since it was empty, and was not taken back
  peeked_draft peeked;
  std::uint64_t tasks_done = 0;
  std::optional<pending_kill> kill;
  time_point leave_by = time_point::max();  // told to leave: killed then
  time_point memory_looked{};
  std::optional<time_point> dying_since;  // when somebody who waits saw that its end has begun

  // Touched by the I/O thread only.
  std::shared_ptr<asio::posix::stream_descriptor> watch;
  bool watching = false;

  std::shared_ptr<void> remains;  // made with the lane, for its burial: that must not want memory

  pool_unit*& at(std::uint32_t number) noexcept { return flight[number % lane_slots]; }
  bool has_results() const noexcept { return results.shared()->size() != 0; }
  slot_view slot(std::uint32_t number) const noexcept {
    return {page->slots[number % lane_slots].load(std::memory_order_acquire)};
  }
  /// Is the worker done with the unit, whatever became of it?
  bool has_passed(std::uint32_t number) const noexcept { return slot(number).round() != number / lane_slots; }
  /// How many of a unit's `count` items the worker has claimed. For units in flight.
  std::uint32_t begun(std::uint32_t number, std::uint32_t count) const noexcept {
    const slot_view now = slot(number);
    const std::uint32_t round = number / lane_slots;
    if (now.round() == round) return std::min(now.begun(), count);
    return static_cast<std::int32_t>(now.round() - round) > 0 ? count : 0;  // the slot's unit before is still passing
  }
  /// Takes back the items from `keep` on of a unit that has `count`. False: the worker has claimed more than `keep`.
  bool take_back(std::uint32_t number, std::uint32_t count, std::uint32_t keep = 0) noexcept {
    auto& word = page->slots[number % lane_slots];
    slot_view now{word.load(std::memory_order_acquire)};
    do {
      if (now.round() != number / lane_slots || now.begun() > keep) return false;
    } while (!word.compare_exchange_weak(now.word, now.word + (count - keep), std::memory_order_acq_rel));
    return true;
  }
  /// A unit goes into the lane, or leaves it.
  void enter(const pool_unit& u) noexcept {
    ++in_flight;
    ahead_ns += u.ns;
  }
  void leave(const pool_unit& u) noexcept {
    ahead_ns = --in_flight == 0 ? 0 : ahead_ns - std::min<std::uint64_t>(ahead_ns, u.ns);
  }
};

}  // namespace mp::detail
