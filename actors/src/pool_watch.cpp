// What goes along with a map on the calling thread, and what an error says. Must never draw where nobody looks.

#include "mp/pool.hpp"

#include <unistd.h>
#include <algorithm>
#include <cstdio>

namespace mp::detail {

struct map_watch::stopper {
  struct canceller {
    pool_core* core;
    pool_job* job;
    void operator()() const noexcept { static_cast<void>(cancel_job(*core, *job)); }
  };
  std::stop_callback<canceller> callback;
};

map_watch::map_watch(pool_core& core, pool_job& job, const map_options& options, std::uint64_t total)
    : core_(core),
      job_(job),
      total_(total),
      draws_(options.progress && ::isatty(STDERR_FILENO) != 0),
      began_(std::chrono::steady_clock::now()) {
  if (options.stop.stop_possible())
    stopper_.reset(new stopper{std::stop_callback<stopper::canceller>(options.stop, stopper::canceller{&core, &job})});
}

map_watch::~map_watch() = default;

void map_watch::run(pool_feeder& feeder, const feed_plan& plan) {
  feeder_ = &feeder;
  const auto never = [](void*) { return false; };
  if (!draws_) {
    static_cast<void>(feed_until(core_, job_, feeder, plan, never, nullptr, time_point::max()));
    return;
  }
  // Four times a second: faster is not seen, slower looks stuck.
  while (feed_until(core_, job_, feeder, plan, never, nullptr,
                    std::chrono::steady_clock::now() + std::chrono::milliseconds(250)) == fed::timed_out)
    draw(false);
  draw(true);
}

void map_watch::draw(bool last) noexcept {
  try {
    struct {
      pool_job* job;
      std::uint64_t open;
    } c{&job_, 0};
    with_pool_lock(
        core_,
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          in.open = in.job->unresolved;
        },
        &c);
    const std::uint64_t done = feeder_->read() - std::min(feeder_->read(), c.open);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    char line[160];
    int n = std::snprintf(line, sizeof line, "\r%llu", static_cast<unsigned long long>(done));
    const auto add = [&](auto... what) {
      if (n > 0 && n < 120) n += std::snprintf(line + n, sizeof line - static_cast<std::size_t>(n), what...);
    };
    if (total_ != UINT64_MAX) add(" of %llu", static_cast<unsigned long long>(total_));
    add(", %.0f/s", rate);
    if (!last && rate > 0 && total_ != UINT64_MAX) add(", %.0f s left", static_cast<double>(total_ - done) / rate);
    add("%s", last ? "\x1b[K\n" : "\x1b[K");
    static_cast<void>(!::write(STDERR_FILENO, line, static_cast<std::size_t>(n)));
  } catch (...) {
    // A line of progress is worth no error.
  }
}

feed_plan plan_for(const map_options& options, std::ptrdiff_t workers, bool lazy) {
  if (options.chunk < 0) throw_error(errc::invalid_argument, "map_options.chunk is negative; 0 is measured");
  if (options.look_ahead < 0) throw_error(errc::invalid_argument, "map_options.look_ahead is negative");
  feed_plan plan;
  plan.chunk = static_cast<std::uint64_t>(options.chunk);
  if (!lazy) return plan;
  const auto chunk = static_cast<std::uint64_t>(options.chunk == 0 ? 256 : options.chunk);
  plan.window = options.look_ahead != 0 ? static_cast<std::uint64_t>(options.look_ahead)
                                        : 4 * chunk * static_cast<std::uint64_t>(workers);
  plan.adapts = options.look_ahead == 0;
  plan.window = std::max(plan.window, std::max<std::uint64_t>(plan.chunk, 1));
  return plan;
}

std::unique_ptr<const task_options> options_for(const map_options& options) {
  task_options each;
  each.deadline = options.deadline;
  each.retry = options.retry;
  check_task_options(each);
  if (options.deadline.is_none() && options.retry.attempts == 1) return nullptr;
  return std::make_unique<const task_options>(std::move(each));
}

void explain(const std::exception_ptr& problem, std::optional<mp::failure>& failure,
             std::optional<mp::post_mortem>& post_mortem, std::error_code& code) {
  code = errc::task_threw;
  try {
    std::rethrow_exception(problem);
  } catch (const worker_died& e) {
    post_mortem = e.post_mortem();
    code = e.code();
  } catch (const remote_error& e) {
    failure = e.failure();
    if (const auto* one_of_ours = dynamic_cast<const error*>(&e)) code = one_of_ours->code();
  } catch (const error& e) {
    code = e.code();
  } catch (...) {
  }
}

}  // namespace mp::detail
