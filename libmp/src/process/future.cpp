// The state behind a future: sleeping, waking, hooks. Must run a hook exactly once, and must never touch a state after
// its last owner let go: whoever publishes holds a reference.

#include "mp/future.hpp"

#include "os/fork_guard.hpp"
#include "os/futex.hpp"

#include <unistd.h>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

namespace mp::detail {
namespace {

// Stands in the list of hooks once they have run.
class closed_mark final : public ready_hook {
public:
  void ready(future_base&) noexcept override {}
};
ready_hook* closed() noexcept {
  static closed_mark mark;
  return &mark;
}
const auto* const made_early = closed();  // before threads: no lock in on_ready

}  // namespace

future_base::~future_base() {
  static_cast<void>(made_early);
  for (ready_hook* hook = hooks_.load(std::memory_order_acquire); hook && hook != closed();)
    delete std::exchange(hook, hook->next_);
}

future_base::future_base() noexcept : word_(static_cast<std::uint32_t>(os::fork_generation()) << process_shift) {}

void future_base::check_process(const char* what) const {
  const std::uint32_t word = word_.load(std::memory_order_acquire),
                      here = static_cast<std::uint32_t>(os::fork_generation());
  if ((word & ready_bit) == 0 && word >> process_shift != here << process_shift >> process_shift)
    os::check_process(word >> process_shift, what);
}

bool future_base::wait_until(time_point until) noexcept {
  for (std::uint32_t seen = word_.load(std::memory_order_acquire);; seen = word_.load(std::memory_order_acquire)) {
    if (seen & ready_bit) return true;
    if (until == time_point::min() || std::chrono::steady_clock::now() >= until) return false;
    if (!(seen & waiter_bit) && !word_.compare_exchange_weak(seen, seen | waiter_bit, std::memory_order_acq_rel))
      continue;
    // No slices: the waker is a thread of this process.
    os::futex_wait(word_, seen | waiter_bit, until, std::chrono::hours(1));
  }
}

void future_base::publish() noexcept {
  const std::uint32_t before = word_.exchange(ready_bit | claimed_bit, std::memory_order_acq_rel);
  if (before & waiter_bit) os::futex_wake(word_, INT_MAX);
  ready_hook* list = hooks_.exchange(closed(), std::memory_order_acq_rel);
  ready_hook* in_order = nullptr;
  while (list) {
    ready_hook* const next = list->next_;
    list->next_ = in_order;
    in_order = std::exchange(list, next);
  }
  while (in_order) {
    const std::unique_ptr<ready_hook> hook(std::exchange(in_order, in_order->next_));
    hook->ready(*this);
  }
}

void future_base::on_ready(std::unique_ptr<ready_hook> hook) {
  check_process("a future");
  ready_hook* head = hooks_.load(std::memory_order_acquire);
  do {
    if (head == closed()) {
      hook->ready(*this);
      return;
    }
    hook->next_ = head;
  } while (!hooks_.compare_exchange_weak(head, hook.get(), std::memory_order_acq_rel, std::memory_order_acquire));
  static_cast<void>(hook.release());
  attend();
}

// -- mp::wait: one hook a future, however often it is waited for, and the eventfds of those who wait now

namespace {

struct polls {
  std::mutex mutex;
  std::unordered_map<const future_base*, std::vector<int>> waiters;  // of those that have a hook
};
polls& all_polls() {
  static auto* const made = new polls;  // futures may outlive static destructors
  return *made;
}

void ring(int eventfd) noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(eventfd, &one, sizeof one));
}

class poll_hook final : public ready_hook {
public:
  explicit poll_hook(const future_base& of) noexcept : of_(&of) {}
  // Also where the answer never came: another future may lie at the same place later.
  ~poll_hook() override {
    const std::lock_guard lock(all_polls().mutex);
    all_polls().waiters.erase(of_);
  }
  void ready(future_base&) noexcept override {
    const std::lock_guard lock(all_polls().mutex);
    const auto at = all_polls().waiters.find(of_);
    if (at == all_polls().waiters.end()) return;
    for (const int eventfd : at->second) ring(eventfd);
    at->second.clear();
  }

private:
  const future_base* const of_;
};

}  // namespace

void future_base::enter(int eventfd) {
  bool is_new = false;
  {
    const std::lock_guard lock(all_polls().mutex);
    const auto at = all_polls().waiters.find(this);
    is_new = at == all_polls().waiters.end();
    if (!is_new) at->second.push_back(eventfd);
  }
  if (is_new) {
    auto hook = std::make_unique<poll_hook>(*this);
    {
      const std::lock_guard lock(all_polls().mutex);
      all_polls().waiters[this].push_back(eventfd);
    }
    on_ready(std::move(hook));
  } else {
    attend();
  }
  // The hook may have run in between.
  if (is_ready()) ring(eventfd);
}

void future_base::leave(int eventfd) noexcept {
  const std::lock_guard lock(all_polls().mutex);
  const auto at = all_polls().waiters.find(this);
  if (at != all_polls().waiters.end()) std::erase(at->second, eventfd);
}

std::exception_ptr broken_promise() noexcept {
  try {
    return std::make_exception_ptr(error(errc::closed, "the answer never came: whoever should have given it is gone"));
  } catch (...) {
    return std::current_exception();
  }
}

/// The indices of futures in the order in which they end.
///
/// Threads:  thread-safe.   Processes: process-bound.
class completion_order {
public:
  void add(std::size_t index) noexcept {
    const std::lock_guard lock(mutex_);
    ended_.push_back(index);
    some_.notify_one();
  }
  std::size_t next() {
    std::unique_lock lock(mutex_);
    if (ended_.empty()) check_may_wait("as_completed");
    some_.wait(lock, [this] { return !ended_.empty(); });
    const std::size_t index = ended_.front();
    ended_.pop_front();
    return index;
  }

private:
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::size_t> ended_;
};

std::shared_ptr<completion_order> make_completion_order() { return std::make_shared<completion_order>(); }
void add_ended(completion_order& order, std::size_t index) noexcept { order.add(index); }
std::size_t next_ended(completion_order& order) { return order.next(); }

void throw_no_future(const char* what) {
  throw_error(errc::closed,
              std::string(what) + ": this future has no answer to give: it was taken, moved from, or never made");
}

}  // namespace mp::detail
