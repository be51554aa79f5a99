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

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mp::detail {

/// A unit that has to end, and when its worker is killed if it does not.
struct pending_kill {
  std::uint32_t number = 0;  // of the unit
  std::uint32_t item = 0;    // of it
  death why = death::unknown;
  time_point at{};
};

class pool_lane {
public:
  enum class life : unsigned char { starting, running, leaving, ended };

  // Set once.
  std::uint32_t index = 0;  // of its memory
  std::uint32_t seat = 0;   // whose worker it is
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
  std::array<pool_unit*, lane_slots> flight{};  // null: taken back, or over
  std::vector<bool> knows;                      // functions
  std::uint64_t unit_ns = 0;                    // as last seen, and how many units may be in flight for that
  std::uint32_t most_in_flight = 1;
  std::uint64_t tasks_done = 0;
  std::optional<pending_kill> kill;
  time_point leave_by = time_point::max();  // told to leave: killed then
  time_point memory_looked{};

  // Touched by the I/O thread only.
  std::shared_ptr<asio::posix::stream_descriptor> watch;
  bool watching = false;

  pool_unit*& at(std::uint32_t number) noexcept { return flight[number % lane_slots]; }
  bool has_results() const noexcept { return results.shared()->size() != 0; }
  std::uint32_t slot(std::uint32_t number) const noexcept {
    return page->slots[number % lane_slots].load(std::memory_order_acquire);
  }
  /// The word may still be of the slot's unit before: the worker moves it on after the result is out.
  bool is_started(std::uint32_t number) const noexcept {
    const std::uint32_t word = slot(number), round = number / lane_slots;
    return word >> 2 > round || word == slot_word(number, slot_state::started);
  }
  /// Takes a unit back that the worker has not begun. One CAS decides.
  bool take_back(std::uint32_t number) noexcept {
    std::uint32_t expected = slot_word(number, slot_state::queued);
    return page->slots[number % lane_slots].compare_exchange_strong(expected, slot_word(number, slot_state::taken),
                                                                    std::memory_order_acq_rel);
  }
};

}  // namespace mp::detail
