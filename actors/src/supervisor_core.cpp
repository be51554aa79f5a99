// The thread of a supervisor: its beginning, its loop, its end, and what others may ask of it. Must never hold its lock
// while it starts, awaits or stops anything.

#include "supervisor_core.hpp"

#include "mp/error.hpp"
#include "mp/this_process.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>

namespace mp::detail {
namespace {

/// A poll's timeout until then, rounded up.
int milliseconds_until(time_point when) noexcept {
  if (when == time_point::max()) return -1;
  const auto left = when - std::chrono::steady_clock::now();
  if (left <= left.zero()) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<long long>(ms, 1'000'000));
}

}  // namespace

bell::bell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_) throw_system_error(errc::out_of_resources, "a supervisor needs a descriptor", errno);
}

void bell::ring() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(fd_.get(), &one, sizeof one));
}

void bell::hush() noexcept {
  std::uint64_t count = 0;
  static_cast<void>(!::read(fd_.get(), &count, sizeof count));
}

supervisor_core::supervisor_core(supervisor_plan plan, bell* above)
    : options_(std::move(plan.options)), made_in_(this_process::pid()), above_(above), budget_(options_.restart) {
  if (options_.strategy == mp::strategy::simple_one_for_one) {
    pattern_ = std::move(plan.children.front());
    return;
  }
  for (child_spec& spec : plan.children) {
    auto& s = seats_.emplace_back(std::make_unique<seat>(std::move(spec)));
    s->serial = next_serial_++;
    s->info.name = s->spec.name;
    s->info.is_supervisor = static_cast<bool>(s->spec.supervise);
  }
}

std::shared_ptr<supervisor_core> supervisor_core::begin(supervisor_plan plan, bell* above) {
  if (const auto problem = complaint(plan.options, plan.children); !problem.empty())
    throw_error(errc::invalid_argument, "supervisor: " + problem);
  auto core = std::make_shared<supervisor_core>(std::move(plan), above);
  if (!above) add_service(service_rank::supervisor, core);
  // The thread inherits the mask: it never runs a handler of the user's.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    core->thread_ = std::thread([raw = core.get()] { raw->live(); });
  } catch (const std::system_error& e) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    core->has_ended_ = true;
    throw_system_error(errc::out_of_resources, "cannot start a supervisor's thread", e.code().value());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return core;
}

void supervisor_core::wait_started() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return has_started_ || has_ended_; });
  if (start_problem_) std::rethrow_exception(start_problem_);
}

supervisor_core::~supervisor_core() {
  if (!thread_.joinable()) return;
  ask_to_stop();
  thread_.join();
}

// -- the own thread
// -----------------------------------------------------------------------------------------------------------

void supervisor_core::live() noexcept {
  ::pthread_setname_np(::pthread_self(), "mp-supervisor");
  try {
    for (const auto& s : seats_) {
      if (must_stop()) throw_error(errc::closed, "supervisor: it was stopped while it started");
      start_seat(*s);
    }
    {
      const std::lock_guard lock(mutex_);
      has_started_ = true;
      ended_.notify_all();
    }
    while (!stopping_ && !must_stop()) {
      run_jobs();
      note_ends();
      start_due();
      if (!stopping_ && !must_stop()) sleep();
    }
    finish(nullptr);
  } catch (...) {
    finish(std::current_exception());
  }
}

// A start that failed: `problem` is for the constructor. Later it can only be a lack of memory: as if it gave up.
void supervisor_core::finish(std::exception_ptr problem) noexcept {
  verdict what = std::move(called_off_);
  try {
    stop_all(what);
  } catch (...) {
    // No memory for the verdict: the children that are left end with their process objects, below.
  }
  std::vector<std::packaged_task<void()>> refused;
  seats gone;
  {
    const std::lock_guard lock(mutex_);
    verdict_ = std::move(what);
    if (problem && has_started_) {
      gave_up_ = "supervisor: out of memory";
    } else {
      start_problem_ = problem;
    }
    has_ended_ = true;
    refused.swap(jobs_);
    gone.swap(seats_);
    for (auto& s : gone) s->mailbox.reset();
  }
  refused.clear();
  gone.clear();
  ended_bell_.ring();
  ended_.notify_all();
  if (above_) above_->ring();
}

void supervisor_core::run_jobs() {
  std::vector<std::packaged_task<void()>> now;
  {
    const std::lock_guard lock(mutex_);
    now.swap(jobs_);
  }
  for (auto& job : now) {
    if (must_stop()) return;  // dropped: whoever asked hears that we are closed
    job();
  }
}

void supervisor_core::sleep() {
  std::vector<pollfd> fds{{bell_.fd(), POLLIN, 0}};
  std::vector<std::uint64_t> whose{0};
  time_point next = time_point::max();
  for (const auto& s : seats_) {
    if (s->running) {
      fds.push_back({s->running->sentinel(), POLLIN, 0});
      whose.push_back(s->serial);
    }
    if (s->due) next = std::min(next, *s->due);
  }
  if (::poll(fds.data(), fds.size(), milliseconds_until(next)) <= 0) return;
  if (fds.front().revents != 0) bell_.hush();
  for (std::size_t i = 1; i < fds.size(); ++i)
    if (fds[i].revents != 0) ready_.push_back(whose[i]);
}

bool supervisor_core::must_stop() const {
  const std::lock_guard lock(mutex_);
  return stop_by_.has_value();
}

time_point supervisor_core::last_moment() const {
  const std::lock_guard lock(mutex_);
  return stop_by_.value_or(time_point::max());
}

// -- from outside
// -------------------------------------------------------------------------------------------------------------

void supervisor_core::hurry(time_point until) noexcept {
  {
    const std::lock_guard lock(mutex_);
    stop_by_ = std::min(stop_by_.value_or(time_point::max()), until);
    // Whoever waits for one below hurries it, too. Locks go down the tree, never up.
    if (starting_) starting_->hurry(until);
    if (until != time_point::max())
      for (const auto& s : seats_)
        if (s->below) s->below->hurry(until);
  }
  stop_bell_.ring();
  bell_.ring();
}

void supervisor_core::call(const char* what, std::function<void()> job) {
  check_may_wait(what);
  std::packaged_task<void()> task(std::move(job));
  auto done = task.get_future();
  const auto refuse = [&] { throw_error(errc::closed, std::string(what) + ": the supervisor has stopped"); };
  {
    const std::lock_guard lock(mutex_);
    if (has_ended_ || stop_by_) refuse();
    jobs_.push_back(std::move(task));
  }
  bell_.ring();
  try {
    done.get();
  } catch (const std::future_error&) {
    refuse();
  }
}

std::vector<child_info> supervisor_core::children() const {
  const std::lock_guard lock(mutex_);
  std::vector<child_info> all;
  all.reserve(seats_.size());
  for (const auto& s : seats_) all.push_back(s->info);
  return all;
}

child_counts supervisor_core::counts() const {
  const std::lock_guard lock(mutex_);
  child_counts n;
  for (const auto& s : seats_) {
    ++n.specs;
    ++(s->info.is_supervisor ? n.supervisors : n.workers);
    if (s->is_active()) ++n.active;
  }
  return n;
}

bool supervisor_core::has_ended() const {
  const std::lock_guard lock(mutex_);
  return has_ended_;
}

bool supervisor_core::gave_up() const {
  const std::lock_guard lock(mutex_);
  return !gave_up_.empty();
}

bool supervisor_core::wait_ended(time_point until) {
  std::unique_lock lock(mutex_);
  if (until == time_point::max()) {
    ended_.wait(lock, [this] { return has_ended_; });
    return true;
  }
  return ended_.wait_until(lock, until, [this] { return has_ended_; });
}

verdict supervisor_core::result(bool with_error) const {
  const std::lock_guard lock(mutex_);
  if (with_error && !gave_up_.empty()) throw_error(errc::restarts_exceeded, gave_up_);
  return verdict_;
}

void supervisor_core::stop_by(time_point until, verdict& what) noexcept {
  if (has_ended()) return;
  hurry(until);
  wait_ended(time_point::max());
  try {
    const verdict mine = result(false);
    what.ended.insert(what.ended.end(), mine.ended.begin(), mine.ended.end());
    what.killed.insert(what.killed.end(), mine.killed.begin(), mine.killed.end());
    what.leaked.insert(what.leaked.end(), mine.leaked.begin(), mine.leaked.end());
  } catch (...) {
    // No memory for the account; the children are gone all the same.
  }
}

}  // namespace mp::detail
