// What the typed calls reach of the core.

#include "mp/detail/pool_face.hpp"

#include "mp/error.hpp"
#include "pool_core.hpp"

#include <string>

namespace mp::detail {

core_ptr make_pool_core(pool_options options) {
  auto core = std::make_shared<pool_core>(std::move(options));
  core->start();
  return core_ptr(std::move(core));
}
std::uint32_t register_function(pool_core& core, const unit_function& f) { return core.register_function(f); }
bool submit_unit(pool_core& core, pool_unit& unit, const unit_function& f, bool wait) {
  return core.submit(unit, f, wait);
}
void check_open(pool_core& core) {
  core.check_process();
  core.check_open();
}
bool collect_until(pool_core& core, bool (*is_done)(void*), void* context, time_point until) {
  return core.collect_until(is_done, context, until);
}
fed feed_until(pool_core& core, pool_job& job, pool_feeder& feeder, const feed_plan& plan, bool (*is_done)(void*),
               void* context, time_point until) {
  core.check_process();
  return core.feed_until(job, feeder, plan, is_done, context, until);
}
void feed_all(pool_core& core, pool_job& job, pool_feeder& feeder, const feed_plan& plan) {
  core.feed_all(job, feeder, plan);
}
std::exception_ptr why_unfed(pool_core& core, pool_job& job, bool stop) { return core.why_unfed(job, stop); }
bool cancel_job(pool_core& core, pool_job& job) noexcept { return !core.is_copy() && core.cancel(job); }
void attend_pool(pool_core& core) noexcept {
  if (!core.is_copy()) core.attend();
}
std::optional<progress_report> progress_of(pool_core& core, pool_job& job) {
  struct {
    pool_core& core;
    pool_job& job;
    std::optional<progress_report> report;
  } c{core, job, std::nullopt};
  with_pool_lock(
      core,
      [](void* p) {
        auto& in = *static_cast<decltype(c)*>(p);
        in.report = in.core.progress(in.job);
      },
      &c);
  return std::move(c.report);
}
void check_task_options(const task_options& o) {
  const auto refuse = [](const std::string& what) { throw_error(errc::invalid_argument, what); };
  if (o.retry.attempts < 1)
    refuse("retry.attempts is " + std::to_string(o.retry.attempts) + "; the first one counts, so at least 1");
  if (o.retry.attempts > 1 && !o.retry.idempotent)
    refuse("retry.attempts above 1 lets a task run again although it had begun: say .idempotent = true if it may");
  if (o.retry.attempts > 60000) refuse("retry.attempts is above 60000");
}
// The copy's lock may be held for ever, by a thread that it has not; and nothing waits there to be found.
void with_pool_lock(pool_core& core, void (*f)(void*), void* context) {
  if (!core.is_copy()) core.with_lock(f, context);
}
std::ptrdiff_t worker_count(pool_core& core) noexcept { return core.workers(); }
void submit_to_each(pool_core& core, const std::vector<pool_unit*>& units) { core.submit_to_each(units); }
// A copy of the caller made by fork must not end what is the original's: the lanes lie in memory that both see.
void close_pool(pool_core& core) noexcept {
  if (!core.is_copy()) core.close();
}
void terminate_pool(pool_core& core) noexcept {
  if (!core.is_copy()) core.terminate();
}
bool join_pool(pool_core& core, time_point until) {
  core.check_process();
  return core.join(until);
}
verdict drain_pool(pool_core& core, duration limit) {
  core.check_process();
  return core.drain(limit);
}
void resize_pool(pool_core& core, std::ptrdiff_t workers) {
  core.check_process();
  core.resize(workers);
}
pool_stats stats_of(pool_core& core) {
  core.check_process();
  return core.stats();
}
std::vector<dead_letter> letters_of(pool_core& core) {
  core.check_process();
  return core.letters();
}
void abandon_pool(core_ptr core) noexcept {
  if (core->is_copy()) return;
  try {
    core->terminate();
    // On the I/O thread it ends by itself.
    if (!on_io_thread()) static_cast<void>(core->join(std::chrono::steady_clock::now() + std::chrono::seconds(30)));
  } catch (...) {
  }
}
shared_heap& heap_of(pool_core& core) noexcept { return core.heap(); }
void begin_unit(pool_core& core, pool_job& job, pool_unit& unit) { core.begin_unit(job, unit); }

}  // namespace mp::detail
