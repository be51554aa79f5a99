#pragma once
/// @file
/// A supervisor at work: one thread that starts, awaits and stops children, one thing after the other, as OTP's does.
///
/// Shape:    the thread sleeps in poll on the children's sentinels and a bell. Calls from outside are jobs that it runs.
/// Threads:  what is not marked "own thread" is thread-safe.   Processes: process-bound.
/// Death:    a start that fails counts as an end: it is tried again while the budget lasts.
/// Source:   doc/decisions/0010-supervisors.md; OTP supervisor.erl.

#include "mp/detail/mail_seat.hpp"
#include "mp/process.hpp"
#include "mp/supervisor.hpp"
#include "services.hpp"
#include "supervisor_plan.hpp"
#include "supervisor_policy.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mp::detail {

/// An eventfd: readable from ring() until hush().
///
/// Threads:  thread-safe.   Processes: process-bound.
class bell {
public:
  /// Throws: error{out_of_resources}.
  bell();
  void ring() noexcept;
  void hush() noexcept;
  int fd() const noexcept { return fd_.get(); }

private:
  unique_fd fd_;
};

// Invariants: (1) seats_ and the info in each are written by the own thread under mutex_, so that others may read them
// under it and the own thread without; (2) everything else in a seat is the own thread's; (3) a nested supervisor lives
// no longer than its seat, so it may name the one above by reference.
class supervisor_core final : public service, public std::enable_shared_from_this<supervisor_core> {
public:
  /// Begins to start the children. wait_started throws what the first that could not be started threw, after the others
  /// were stopped.
  static std::shared_ptr<supervisor_core> begin(supervisor_plan plan, bell* above = nullptr);
  void wait_started();
  supervisor_core(supervisor_plan plan, bell* above);
  ~supervisor_core() override;

  /// Runs `job` on the own thread and waits for it. Throws what it throws; error{closed} once the supervisor stops.
  void call(const char* what, std::function<void()> job);
  std::vector<child_info> children() const;
  child_counts counts() const;

  void ask_to_stop() noexcept { hurry(time_point::max()); }
  void stop_by(time_point until, verdict& what) noexcept override;
  /// False: it has not ended by then.
  bool wait_ended(time_point until);
  bool has_ended() const;
  bool gave_up() const;
  /// After its end. Throws error{restarts_exceeded}.
  verdict result(bool with_error) const;
  /// Readable once it has ended.
  int ended_fd() const noexcept { return ended_bell_.fd(); }
  pid_t made_in() const noexcept { return made_in_; }

  // Own thread; bodies of jobs.
  void add_child(child_spec spec);
  void terminate_child(std::string_view name);
  void restart_child(std::string_view name);
  void delete_child(std::string_view name);
  mp::address address_of(std::string_view name);

private:
  struct seat {
    explicit seat(child_spec s) : spec(std::move(s)) {}
    child_spec spec;
    child_info info;
    std::uint64_t serial = 0;
    std::optional<process> running;
    std::shared_ptr<supervisor_core> below;
    std::optional<time_point> due;  // to be started again then
    time_point started{};
    std::size_t tries = 0;  // starts since it last ran for a whole period
    bool by_hand = false;   // stopped by terminate_child: not started again with others
    std::unique_ptr<mail_seat> mailbox;

    bool is_active() const noexcept { return running || below; }
  };
  using seats = std::vector<std::unique_ptr<seat>>;

  // ---- Own thread: supervisor_core.cpp
  void live() noexcept;
  void sleep();
  void run_jobs();
  void finish(std::exception_ptr problem) noexcept;
  bool must_stop() const;
  void hurry(time_point until) noexcept;
  time_point last_moment() const;
  time_point last_moment_of_one() const;

  // ---- Own thread: supervisor_children.cpp
  void start_seat(seat& s);
  void start_below(seat& s);
  void start_process(seat& s);
  void note_ends();
  void note_end(seat& s, const mp::exit_status& status);
  void end_for_good(seat& s, bool forget);
  void plan_restart(seat& s);
  void start_due();
  void tell(const seat& s, bool gave_up) noexcept;
  std::size_t position(const seat& s) const noexcept;
  seat& find(std::string_view name);
  void forget(const seat& s);
  void set_idle(seat& s, std::optional<mp::exit_status> last);

  // ---- Own thread: supervisor_stop.cpp
  void stop_all(verdict& what);
  void ask(seat& s) noexcept;
  void stop_seat(seat& s, bool asked, time_point asked_at, verdict& what);
  std::optional<mp::exit_status> wait_end(seat& s, time_point until, bool may_hurry);

  const supervisor_options options_;
  const pid_t made_in_;
  bell* const above_;
  bell bell_, ended_bell_;
  bell stop_bell_;  // rung once, for good: no start goes on

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  seats seats_;
  std::vector<std::packaged_task<void()>> jobs_;  // guarded by mutex_, as the following
  std::optional<time_point> stop_by_;             // asked to stop; nobody lives longer than this
  std::shared_ptr<supervisor_core> starting_;     // one below that is not in its seat yet
  bool has_started_ = false, has_ended_ = false;
  std::exception_ptr start_problem_;
  verdict verdict_;
  verdict called_off_;   // the own thread's: of what had been started below when a stop came
  std::string gave_up_;  // why; empty: it did not

  // Own thread.
  std::optional<child_spec> pattern_;  // simple_one_for_one
  restart_budget budget_;
  std::minstd_rand chance_{std::random_device{}()};
  std::vector<std::uint64_t> ready_;
  std::uint64_t next_serial_ = 1;
  bool stopping_ = false;
  std::size_t share_ = 1;  // how many are still to be stopped

  std::thread thread_;
};

}  // namespace mp::detail
