// How waiting operations are driven on the I/O thread.
// Must never let one group's order change, and never trust a wake-up: every one is only a reason to try again.
// D4 says why there is a sweep: a wake-up may be lost with the process that owed it.

#include "channel/operations.hpp"

#include "os/fork_guard.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace mp::detail {
namespace {
// Death of a process can swallow a wake-up; this bounds how late we see that (FAULTS rule 4).
constexpr auto sweep_every = std::chrono::milliseconds(50);
// For operations that wait for what nobody announces: a lock of another process.
constexpr auto soon_after = std::chrono::milliseconds(1);
// So many operations of one group are finished before another group has its turn.
constexpr int turn = 256;

thread_local const void* being_tried = nullptr;

struct trying {
  explicit trying(const async_operation& operation) noexcept { being_tried = &operation; }
  trying(const trying&) = delete;
  trying& operator=(const trying&) = delete;
  ~trying() { being_tried = nullptr; }
};

// `attempt`: &async_operation::try_finish or &async_operation::try_end.
bool try_one(async_operation& operation, bool (async_operation::*attempt)() noexcept) noexcept {
  if (!operation.begin_try()) {
    operation.abort(asio::error::operation_aborted);
    return true;
  }
  const trying scope(operation);
  const bool finished = (operation.*attempt)();
  operation.end_try(finished);
  return finished;
}

bool try_finish(async_operation& operation) noexcept { return try_one(operation, &async_operation::try_finish); }
bool try_end(async_operation& operation) noexcept { return try_one(operation, &async_operation::try_end); }

int prepare(async_operation& operation) noexcept {
  const trying scope(operation);
  return operation.prepare();
}

}  // namespace

bool async_operation::forbid() noexcept {
  for (;;) {
    phase seen = phase::idle;
    if (phase_.compare_exchange_strong(seen, phase::cancelled)) return true;
    if (seen != phase::trying) return false;
    std::this_thread::yield();
  }
}

const void* operations::current() noexcept { return being_tried; }

operations::group* operations::find(const void* key, std::uint64_t id) noexcept {
  const auto it = groups_.find(key);
  return it != groups_.end() && it->second->id == id ? it->second.get() : nullptr;
}

void operations::add(std::shared_ptr<async_operation> operation) {
  const void* const key = operation->group();
  const auto it = groups_.find(key);
  if (it != groups_.end()) {
    it->second->waiting.push_back(std::move(operation));
    if (!it->second->polling) run(key);
    return;
  }
  if (try_finish(*operation)) return;
  auto made = std::make_unique<group>(context_);
  made->id = next_id_++;
  made->waiting.push_back(std::move(operation));
  groups_.emplace(key, std::move(made));
  run(key);
  if (!groups_.empty()) start_sweep(sweep_every);
}

void operations::run(const void* key) {
  const auto it = groups_.find(key);
  if (it == groups_.end()) return;
  group& g = *it->second;
  int at_once_in_vain = 0;
  for (int tries = 0; !g.waiting.empty(); ++tries) {
    if (tries == turn) {  // others want their turn, too
      asio::post(context_, [this, key] { run(key); });
      return;
    }
    async_operation& first = *g.waiting.front();
    if (try_finish(first)) {
      g.waiting.pop_front();
      at_once_in_vain = 0;
      continue;
    }
    if (g.polling) return;
    const int fd = prepare(first);
    // Ready and yet not possible (room, but not enough of it): the sweep looks again.
    if (fd == async_operation::at_once && ++at_once_in_vain < 4) continue;
    if (fd == async_operation::soon) start_sweep(soon_after);
    if (fd >= 0) poll(key, g, fd);
    return;
  }
  groups_.erase(it);
}

void operations::group::close() noexcept {
  if (!descriptor.is_open()) return;
  os::forget_on_fork(descriptor.native_handle());
  boost::system::error_code ignored;
  descriptor.close(ignored);
}

void operations::poll(const void* key, group& g, int fd) {
  if (g.source != fd || !g.descriptor.is_open()) {
    // A duplicate is ours to register and to close: two groups may poll the same descriptor, and its owner may close
    // it first. Without one (no descriptors left) the sweep alone serves this group.
    boost::system::error_code ignored;
    g.close();
    g.source = async_operation::none;
    const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) return;
    g.descriptor.assign(own, ignored);
    if (ignored) {
      ::close(own);
      return;
    }
    g.source = fd;
    // In a copy that fork makes it would keep others from seeing the end of what it belongs to.
    os::close_on_fork(own);
  }
  g.polling = true;
  g.descriptor.async_wait(asio::posix::stream_descriptor::wait_read, [this, key, id = g.id](const error_code&) {
    if (group* same = find(key, id)) {
      same->polling = false;
      run(key);
    }
  });
}

void operations::cancel(const std::shared_ptr<async_operation>& operation, const error_code& why) noexcept {
  const void* const key = operation->group();
  const auto it = groups_.find(key);
  if (it == groups_.end()) return;
  auto& waiting = it->second->waiting;
  const auto at = std::find(waiting.begin(), waiting.end(), operation);
  if (at == waiting.end()) return;
  const bool was_first = at == waiting.begin();
  waiting.erase(at);
  operation->abort(why);
  if (waiting.empty())
    groups_.erase(it);
  else if (was_first)
    it->second->source = async_operation::none;  // the next one names its own descriptor at the next look
}

void operations::abort_all(const error_code& why) noexcept {
  auto gone = std::move(groups_);
  groups_.clear();
  for (auto& [key, g] : gone)
    for (auto& operation : g->waiting) operation->abort(why);
  sweep_.cancel();
  sweeping_ = false;
}

void operations::start_sweep(std::chrono::milliseconds in) {
  const auto then = std::chrono::steady_clock::now() + in;
  if (sweeping_ && sweep_.expiry() <= then) return;
  sweeping_ = true;
  sweep_.expires_at(then);
  sweep_.async_wait([this](const error_code& ec) {
    if (ec) return;  // another one comes sooner
    sweeping_ = false;
    sweep();
    if (!groups_.empty()) start_sweep(sweep_every);
  });
}

void operations::sweep() {
  std::vector<const void*> keys;
  keys.reserve(groups_.size());
  for (const auto& [key, g] : groups_) keys.push_back(key);
  for (const void* key : keys) {
    run(key);
    const auto it = groups_.find(key);
    if (it == groups_.end()) continue;
    // Those behind the first would overtake it if they were tried (a small message fits where a large one does not); but
    // the end of a channel may have come for one role and not for another.
    auto& waiting = it->second->waiting;
    for (auto at = waiting.begin() + 1; at != waiting.end();) at = try_end(**at) ? waiting.erase(at) : at + 1;
  }
}

}  // namespace mp::detail
