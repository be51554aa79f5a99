// The task under way. The watcher must trip no token but that of the unit that was meant: numbers are compared under
// the lock that guards the token.

#include "worker_task.hpp"

#include "mp/codec.hpp"
#include "mp/detail/pool_call.hpp"
#include "mp/error.hpp"
#include "mp/this_task.hpp"

#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <string_view>
#include <system_error>

namespace mp {
namespace detail {
namespace {

thread_local worker_task* on_this_thread = nullptr;

}  // namespace

std::atomic<bool> unit_run::is_copy{false};

void unit_run::end_copy() noexcept {
  constexpr std::string_view why =
      "mp: a task called fork and its copy came back from it; the copy ends: call _exit in it\n";
  static_cast<void>(!::write(STDERR_FILENO, why.data(), why.size()));
  ::_exit(1);
}

std::exception_ptr as_undecodable(const std::exception_ptr& problem) noexcept {
  try {
    std::rethrow_exception(problem);
  } catch (const error&) {
    return problem;
  } catch (const pool_gone&) {
    return problem;
  } catch (...) {
    try {
      rethrow_undecodable("the arguments of a task");
    } catch (...) {
      return std::current_exception();
    }
  }
}

worker_task* worker_task::current() noexcept { return on_this_thread; }

worker_task::~worker_task() {
  if (!watcher_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  page_.stop_bell.wake();
  watcher_.join();
}

void worker_task::enter(const task_record& record, const task_more& more, std::string_view key, std::uint32_t number,
                        const std::uint32_t& at) noexcept {
  record_ = record;
  more_ = more;
  key_ = key;
  number_ = number;
  at_ = &at;
  on_this_thread = this;
}

void worker_task::leave() noexcept {
  on_this_thread = nullptr;
  if (!watcher_.joinable()) return;
  const std::lock_guard lock(mutex_);
  stop_.reset();
}

std::stop_token worker_task::stop_token() {
  page_.listening.store(number_ + 1, std::memory_order_seq_cst);
  const std::lock_guard lock(mutex_);
  if (!stop_) {
    stop_.emplace();
    stop_number_ = number_;
  }
  if (!watcher_.joinable()) try {
      watcher_ = std::thread([this] { watch(); });
    } catch (const std::system_error& e) {
      stop_.reset();
      throw_system_error(errc::out_of_resources, "no thread to listen for the stop of a task", e.code().value());
    }
  if (page_.stop_unit.load(std::memory_order_seq_cst) == stop_number_ + 1) stop_->request_stop();
  return stop_->get_token();
}

void worker_task::watch() {
  for (std::uint32_t tripped = 0;;) {
    std::stop_source due(std::nostopstate);
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return;
      const std::uint32_t asked = page_.stop_unit.load(std::memory_order_seq_cst);
      if (stop_ && asked == stop_number_ + 1) due = *stop_;
      tripped = asked;
    }
    // Callbacks of the user run here: not under the lock.
    if (due.stop_possible()) due.request_stop();
    page_.stop_bell.sleep([&] { return page_.stop_unit.load(std::memory_order_seq_cst) != tripped; }, time_point::max(),
                          std::chrono::hours(1));  // whoever rings takes us along if it dies
  }
}

std::optional<time_point> worker_task::deadline() const noexcept {
  const auto moment = [](std::int64_t ns) { return time_point(std::chrono::nanoseconds(ns)); };
  std::optional<time_point> first;
  if (more_.moment_ns != 0) first = moment(more_.moment_ns);
  if (more_.deadline_ns != 0) {
    const auto since = moment(page_.item_since.load(std::memory_order_relaxed));
    const auto ends = deadline_after(since, duration(std::chrono::nanoseconds(more_.deadline_ns)));
    first = first ? std::min(*first, ends) : ends;
  }
  return first;
}

void worker_task::say(std::uint64_t done, std::uint64_t total, std::string_view text) noexcept {
  // Odd while it is written: the parent reads again.
  page_.said.fetch_add(1, std::memory_order_acq_rel);
  const std::size_t n = std::min(text.size(), std::size(page_.said_text) - 1);
  page_.said_unit.store(number_, std::memory_order_relaxed);
  page_.said_item.store(*at_, std::memory_order_relaxed);
  page_.said_done.store(done, std::memory_order_relaxed);
  page_.said_total.store(total, std::memory_order_relaxed);
  page_.said_bytes.store(static_cast<std::uint32_t>(n), std::memory_order_relaxed);
  for (std::size_t i = 0; i < n; ++i) page_.said_text[i].store(text[i], std::memory_order_relaxed);
  page_.said.fetch_add(1, std::memory_order_release);
}

}  // namespace detail

namespace this_task {

using detail::worker_task;

task_id id() noexcept { return worker_task::current() ? worker_task::current()->id() : 0; }
int attempt() noexcept { return worker_task::current() ? worker_task::current()->attempt() : 1; }
std::string key() { return std::string(worker_task::current() ? worker_task::current()->key() : std::string_view()); }
std::stop_token stop_token() {
  return worker_task::current() ? worker_task::current()->stop_token() : std::stop_token();
}
std::optional<time_point> deadline() noexcept {
  return worker_task::current() ? worker_task::current()->deadline() : std::nullopt;
}
void progress(std::uint64_t done, std::uint64_t total, std::string_view text) noexcept {
  if (auto* task = worker_task::current()) task->say(done, total, text);
}

}  // namespace this_task
}  // namespace mp
