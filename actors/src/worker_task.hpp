#pragma once
/// @file
/// The task that a worker runs: what this_task tells of it, and the thread that trips its stop token.
///
/// Threads:  thread-bound (the worker's), but for the watcher inside.   Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "lane_layout.hpp"
#include "mp/duration.hpp"

#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string_view>
#include <thread>

namespace mp::detail {

/// Thrown where there is nobody to tell: the pool has let go of us, or somebody wrote into its memory.
struct pool_gone {};

/// What reading a task's arguments threw, as its item's answer; what is an answer already stays.
std::exception_ptr as_undecodable(const std::exception_ptr& problem) noexcept;

class worker_task {
public:
  explicit worker_task(lane_page& page) : page_(page) {}
  ~worker_task();

  /// A unit begins. `at` is the item under way, and moves. The key must outlive the unit.
  void enter(const task_record& record, const task_more& more, std::string_view key, std::uint32_t number,
             const std::uint32_t& at) noexcept;
  void leave() noexcept;

  /// Of the unit under way. Throws: error{out_of_resources}.
  std::stop_token stop_token();
  std::uint64_t id() const noexcept { return record_.id + *at_; }
  int attempt() const noexcept { return static_cast<int>(record_.attempt); }
  std::string_view key() const noexcept { return key_; }
  std::optional<time_point> deadline() const noexcept;
  void say(std::uint64_t done, std::uint64_t total, std::string_view text) noexcept;

  /// The one that runs on this thread; null: none.
  static worker_task* current() noexcept;

private:
  void watch();

  lane_page& page_;
  task_record record_{};
  task_more more_{};
  std::string_view key_;
  std::uint32_t number_ = 0;
  const std::uint32_t* at_ = nullptr;

  std::mutex mutex_;  // guards the following
  std::optional<std::stop_source> stop_;
  std::uint32_t stop_number_ = 0;
  bool ending_ = false;
  std::thread watcher_;  // made when the first token is asked for
};

}  // namespace mp::detail
