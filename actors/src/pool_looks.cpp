// What can be seen of a pool: counts, dead letters, what tasks say of themselves. Must change nothing.

#include "pool_core.hpp"

#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

namespace mp::detail {

pool_stats pool_core::stats() {
  // A thread that asks without end would take the lock again before those who wait for it have woken up.
  thread_local time_point asked_last{};
  if (std::chrono::steady_clock::now() - asked_last < std::chrono::microseconds(100))
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  asked_last = std::chrono::steady_clock::now();
  pool_stats s;
  count(s);
  // Not locked: whoever asks again and again must not keep the workers' news waiting.
  for (worker_info& w : s.workers) {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%d/statm", static_cast<int>(w.pid));
    std::FILE* const file = std::fopen(path, "re");
    if (!file) continue;
    unsigned long total = 0, resident = 0;
    if (std::fscanf(file, "%lu %lu", &total, &resident) == 2)
      w.memory = resident * static_cast<unsigned long>(::sysconf(_SC_PAGESIZE));
    std::fclose(file);
  }
  return s;
}

void pool_core::count(pool_stats& s) {
  const locked lock(*this);
  collect();
  s.done = done_;
  s.failed = failed_;
  s.cancelled = cancelled_;
  s.retried = retried_;
  s.worker_deaths = deaths_;
  const auto queued = [&](const pool_unit& u) {
    s.queued += u.count - u.resolved;
    return false;
  };
  unit_list none;
  take_queued(queued, none);
  for (seat& one : seats_) {
    if (!one.lane || one.lane->state == pool_lane::life::ended) continue;
    pool_lane& lane = *one.lane;
    worker_info w{lane.name, lane.process.pid(), 0, lane.tasks_done, 0};
    for (std::uint32_t n = lane.got; n != lane.put; ++n) {
      pool_unit* const u = lane.at(n);
      if (!u) continue;
      if (lane.begun(n, u->count) != 0 && u->resolved != u->count) {
        ++s.running;
        s.queued += u->count - u->resolved - 1;
        if (w.task == 0) w.task = u->id + u->resolved;
      } else {
        s.queued += u->count;
      }
    }
    s.workers.push_back(std::move(w));
  }
}

std::vector<dead_letter> pool_core::letters() {
  const locked lock(*this);
  return {letters_.begin(), letters_.end()};
}

// Locked.
void pool_core::report_progress() noexcept {
  for (seat& s : seats_)
    if (s.lane) report_progress(*s.lane);
}
void pool_core::report_progress(pool_lane& lane) noexcept {
  const std::uint32_t counter = lane.page->said.load(std::memory_order_acquire);
  const std::uint32_t number = lane.page->said_unit.load(std::memory_order_relaxed);
  pool_unit* const u = counter == 0 || number - lane.got >= lane.put - lane.got ? nullptr : lane.at(number);
  if (!u || !u->job->options || !u->job->options->on_progress) return;
  try {
    auto& last = said_[u];
    if (last == counter) return;
    if (auto report = progress(lane, *u->job)) {
      last = counter;
      callbacks_.push_back([f = u->job->options->on_progress, r = std::move(*report)] { f(r); });
    }
  } catch (...) {
  }
}

// Locked. What the task of this job that is under way has said last; of several, any.
std::optional<progress_report> pool_core::progress(const pool_job& job) {
  for (seat& s : seats_)
    if (s.lane)
      if (auto report = progress(*s.lane, job)) return report;
  return std::nullopt;
}
std::optional<progress_report> pool_core::progress(pool_lane& lane, const pool_job& job) {
  const lane_page& page = *lane.page;
  for (int i = 0; i < 100; ++i) {
    const std::uint32_t before = page.said.load(std::memory_order_acquire);
    if (before == 0) return std::nullopt;
    if (before & 1) continue;
    const std::uint32_t number = page.said_unit.load(std::memory_order_relaxed);
    const pool_unit* const u = number - lane.got >= lane.put - lane.got ? nullptr : lane.at(number);
    if (!u || u->job != &job) return std::nullopt;
    progress_report r;
    r.done = page.said_done.load(std::memory_order_relaxed);
    r.total = page.said_total.load(std::memory_order_relaxed);
    const std::size_t n = std::min<std::size_t>(page.said_bytes.load(std::memory_order_relaxed), 255);
    for (std::size_t k = 0; k < n; ++k) r.text += page.said_text[k].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (page.said.load(std::memory_order_relaxed) == before) return r;
  }
  return std::nullopt;
}

}  // namespace mp::detail
