#pragma once
// One scene of a kill sweep: what the survivor sets up, what the child does while it is traced, and the ledger that must
// add up whenever the child dies.

#include "ring_rig.hpp"
#include "tracer.hpp"

#include <map>
#include <optional>

namespace mp_fault {

/// Shared by survivor and child: who did what with which item. The child writes, the survivor judges.
struct ledger {
  static constexpr u64 items = 512;
  struct entry {
    std::atomic<bool> began, put;    // the child began to put it; its put returned
    std::atomic<bool> came, let_go;  // the child got it; the child began something that lets go of it
    std::atomic<bool> told;          // the child was told that it was lost
  } of[items];
  std::atomic<int> note;
};

/// What the child has in the traced operation.
struct actor {
  explicit actor(ledger& of) : book(of) {}

  ledger& book;
  channel* on = nullptr;
  role as{};
  std::shared_ptr<channel> held;    // the child's view
  std::shared_ptr<channel> second;  // another channel, where the scene has one
  std::vector<std::vector<std::byte>> ready;
  u64 first_id = 0, ready_id = 0;
  std::vector<unique_fd> fds;

  void make_ready(u64 id, std::size_t size, std::size_t count = 1);
  /// Puts the next item made ready.
  op_status put(bool with_fds = false, time_point until = at_once);
  op_status get(std::size_t most = 1, time_point until = at_once);
  /// From here on the items got so far may be gone.
  void let_go();
  void drop();
};

struct scene {
  std::string name;
  channel_kind kind = channel_kind::queue;
  mp::on_death on_death = mp::on_death::report;
  bool joinable = false;
  std::size_t maxsize = 0, max_bytes = 0;
  role survivor = role::whole, child = role::whole;
  std::size_t preload = 3, size = small_item;  // items 1..preload
  std::size_t sentinel = small_item;           // size of what the survivor puts right after the kill
  std::size_t fds = 0;                         // of each item that the child puts, and that is preloaded
  std::function<void(channel&)> set_up;        // instead of a preload: gives ids itself
  std::function<void(actor&)> prepare, act;
  bool earlier_death = false;  // a consumer died before, with items 1 and 2 in hand
  bool second = false;         // the child holds a sender of another channel that only the survivor receives from
  bool is_main = false;        // also swept at every instruction in the short form
};

std::vector<scene> queue_scenes();
std::vector<scene> pipe_scenes();
std::vector<scene> handle_scenes();

struct sweep_figures {
  std::size_t points = 0, instructions = 0, violations = 0;
  double longest_takeover_ms = 0;
};
/// Kills at every point of this grain and judges each time. `every`: only each n-th point.
sweep_figures sweep(const scene&, grain, tally&, std::size_t every = 1);

}  // namespace mp_fault
