// Puts that are tried again. Must never wait on the I/O thread, must keep the order, and must run nothing of others
// under its lock.

#include "process/outbox.hpp"

#include "mp/detail/async.hpp"
#include "mp/this_process.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace mp::detail {
namespace {

// At the orderly end.
constexpr std::chrono::seconds last_patience{1};

std::atomic<std::size_t> kept_in_all{0};

void await_all() {
  if (on_io_thread()) return;
  const auto until = std::chrono::steady_clock::now() + last_patience;
  while (kept_in_all.load() != 0 && !has_io_thread_ended() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void wait_at_exit() {
  static std::atomic<std::uint64_t> asked_in{0};
  const std::uint64_t now = os::fork_generation(), before = asked_in.exchange(now);
  if (before == now) return;
  if (before != 0) kept_in_all.store(0);  // in a forked child: what its parent keeps is not ours
  at_exit(await_all);
}

}  // namespace

void kept_message::write_into(encoder& e) const {
  e.raw(bytes.data(), bytes.size());
  if (!e.attaching()) return;
  for (const unique_fd& fd : fds) e.attach(duplicate(fd));
}

class outbox::retry final : public async_operation {
public:
  explicit retry(std::shared_ptr<outbox> whose) : whose_(std::move(whose)) {}
  bool try_finish() noexcept override {
    const std::size_t before = whose_->count_.load();
    if (whose_->flush() && whose_->end_retry()) return true;
    tries_in_vain_ = whose_->count_.load() < before ? 0 : tries_in_vain_ + 1;
    return false;
  }
  int prepare() noexcept override { return tries_in_vain_ < hasty_tries ? soon : none; }
  void abort(const error_code&) noexcept override {
    // The library is shut down: this was the last chance.
    static_cast<void>(whose_->flush());
    std::deque<std::unique_ptr<item>> gone;
    const std::lock_guard lock(whose_->mutex_);
    gone.swap(whose_->items_);
    whose_->count_.store(0);
    whose_->retrying_ = false;
    kept_in_all.fetch_sub(gone.size());
    whose_->news_.notify_all();
  }

private:
  const std::shared_ptr<outbox> whose_;
  int tries_in_vain_ = 0;
};

bool outbox::flush() noexcept {
  std::unique_ptr<item> done;
  for (;;) {
    if (done) done->finish();
    done.reset();
    const std::lock_guard lock(mutex_);
    if (items_.empty()) {
      news_.notify_all();
      return true;
    }
    if (!items_.front()->try_put()) return false;
    done = std::move(items_.front());
    items_.pop_front();
    count_.fetch_sub(1);
    kept_in_all.fetch_sub(1);
  }
}

// Only the I/O thread says so: whoever adds meanwhile need not start another one.
bool outbox::end_retry() noexcept {
  const std::lock_guard lock(mutex_);
  if (items_.empty()) retrying_ = false;
  return items_.empty();
}

bool outbox::flush_until(time_point until) {
  while (!flush()) {
    std::unique_lock lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) return false;
    // Tried here, too: nobody else does once the library is shut down.
    news_.wait_until(lock, std::min(until, time_point(now + std::chrono::milliseconds(10))),
                     [this] { return items_.empty(); });
  }
  return true;
}

void outbox::add(std::unique_ptr<item> fresh) {
  wait_at_exit();
  const std::lock_guard lock(mutex_);
  items_.push_back(std::move(fresh));
  count_.fetch_add(1);
  kept_in_all.fetch_add(1);
  if (std::exchange(retrying_, true)) return;
  try {
    start_operation(std::make_shared<retry>(shared_from_this()));
  } catch (...) {
    items_.pop_back();
    count_.fetch_sub(1);
    kept_in_all.fetch_sub(1);
    retrying_ = false;
    throw;
  }
}

}  // namespace mp::detail
