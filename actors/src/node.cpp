// The node. Must never wait without limit for an actor that does not come back.

#include "node.hpp"

#include "mp/error.hpp"
#include "mp/this_process.hpp"
#include "services.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/logger.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

namespace mp::detail {
namespace {

// How long the system's own threads may take to end.
constexpr std::chrono::seconds most_patience{1};

class node final : public service {
public:
  node() {
    // As few threads as CAF 0.17 can do with: one for behaviors, its clock, its printer.
    config_.set("scheduler.max-threads", std::size_t{1});
    // Each thread that makes a system, or a scoped_actor in it, keeps its logger, and its destructor waits for that. So
    // the thread that makes it ends at once.
    std::exception_ptr problem;
    std::thread([&] {
      try {
        system_ = std::make_unique<caf::actor_system>(config_);
      } catch (...) {
        problem = std::current_exception();
      }
    }).join();
    if (problem) std::rethrow_exception(problem);
    // Ours are not counted, and a user's that still runs must not hold the end up.
    system_->await_actors_before_shutdown(false);
  }
  caf::actor_system& system() {
    if (is_stopped_) throw_error(errc::shut_down, "the library was shut down: its actor system has ended");
    return *system_;
  }

  void stop_by(time_point until, verdict& what) noexcept override {
    if (is_stopped_.exchange(true)) return;
    // The orderly end of a child: it ends without running destructors, so nothing of the system's can go wrong.
    if (until == time_point::max() && this_process::parent()) return;
    try {
      // At the end of the process this thread's logger has gone already, with its other thread-local objects.
      if (until != time_point::max() && caf::logger::current_logger() == &system_->logger())
        caf::logger::set_current_actor_system(nullptr);
      std::promise<void> done;
      auto ended = done.get_future();
      std::thread([gone = std::move(system_), done = std::move(done)]() mutable {
        gone.reset();
        done.set_value();
      }).detach();
      const auto limit = std::min(until, std::chrono::steady_clock::now() + most_patience);
      if (ended.wait_until(limit) != std::future_status::ready)
        what.leaked.push_back("the actor system: a behavior did not come back, or another thread has used it");
    } catch (...) {
      // No thread, no memory: it ends with the process.
    }
  }

private:
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  std::atomic<bool> is_stopped_{false};
};

struct holder {
  const pid_t made_in = this_process::pid();
  std::mutex mutex;
  std::shared_ptr<node> one;

  // Never destroyed: actors' handles in statics name it. A forked child begins with a new one.
  static holder& get() {
    static std::atomic<holder*> instance{nullptr};
    holder* seen = instance.load(std::memory_order_acquire);
    while (!seen || seen->made_in != this_process::pid()) {
      auto fresh = std::make_unique<holder>();
      if (instance.compare_exchange_strong(seen, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
    }
    return *seen;
  }
};

}  // namespace

caf::actor_system& caf_node() {
  holder& here = holder::get();
  const std::lock_guard lock(here.mutex);
  if (!here.one) {
    auto fresh = std::make_shared<node>();
    add_service(service_rank::node, fresh);
    here.one = std::move(fresh);
  }
  return here.one->system();
}

}  // namespace mp::detail
