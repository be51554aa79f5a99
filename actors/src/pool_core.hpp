#pragma once
/// @file
/// The inside of a pool: backlog, lanes, lives of workers. One lock; user code never runs under it.
///
/// Shape:    whoever submits puts into a lane itself; whoever waits collects results itself and feeds the lanes; nobody
///           there: the I/O thread, by its tick while there is work, or at once if a hook waits or a backlog does.
/// Threads:  thread-safe.            Processes: process-bound.
/// Life:     lives until its last worker has gone and the last future was dropped.
/// Source:   doc/decisions/0009-pools.md.

#include "lane_layout.hpp"
#include "mp/detail/pool_face.hpp"
#include "mp/detail/shared_heap.hpp"
#include "oom_watch.hpp"
#include "pool_lane.hpp"
#include "pool_policy.hpp"
#include "services.hpp"
#include "supervisor_policy.hpp"

#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <climits>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <unordered_map>

namespace mp::detail {

/// A list of units through their `next`.
class unit_list {
public:
  bool empty() const noexcept { return !first_; }
  pool_unit* front() const noexcept { return first_; }
  void push_back(pool_unit* u) noexcept {
    u->next = nullptr;
    (last_ ? last_->next : first_) = u;
    last_ = u;
  }
  void push_front(pool_unit* u) noexcept {
    u->next = first_;
    first_ = u;
    if (!last_) last_ = u;
  }
  pool_unit* pop_front() noexcept {
    pool_unit* const u = first_;
    first_ = u->next;
    if (!first_) last_ = nullptr;
    return u;
  }
  void append(unit_list& others) noexcept {
    if (others.empty()) return;
    (last_ ? last_->next : first_) = others.first_;
    last_ = others.last_;
    others = {};
  }
  /// Takes out those for which `f(unit)` says so.
  template <class F>
  void take_if(F f, unit_list& into) noexcept {
    unit_list kept;
    while (!empty()) {
      pool_unit* const u = pop_front();
      (f(*u) ? into : kept).push_back(u);
    }
    *this = kept;
  }

private:
  pool_unit *first_ = nullptr, *last_ = nullptr;
};

class pool_core final : public service, public std::enable_shared_from_this<pool_core> {
public:
  explicit pool_core(pool_options options);
  ~pool_core() override;
  /// Starts the workers. Throws: as process::start; none is left behind.
  void start();

  std::uint32_t register_function(const unit_function& f);
  bool submit(pool_unit& unit, const unit_function& f, bool wait);
  void submit_to_each(const std::vector<pool_unit*>& units);
  void check_open();
  bool collect_until(bool (*is_done)(void*), void* context, time_point until);
  fed feed_until(pool_job& job, pool_feeder& feeder, const feed_plan& plan, bool (*is_done)(void*), void* context,
                 time_point until);
  void feed_all(pool_job& job, pool_feeder& feeder, const feed_plan& plan);
  std::exception_ptr why_unfed(pool_job& job, bool stop);
  bool cancel(pool_job& job) noexcept;
  void attend() noexcept;
  std::optional<progress_report> progress(const pool_job& job);

  void close() noexcept;
  void terminate() noexcept;
  bool join(time_point until);
  verdict drain(duration limit);
  void resize(std::ptrdiff_t workers);
  pool_stats stats();
  std::vector<dead_letter> letters();
  void stop_by(time_point until, verdict& what) noexcept override;

  std::ptrdiff_t workers() const noexcept { return seat_count_.load(std::memory_order_relaxed); }
  void with_lock(void (*f)(void*), void* context);
  const pool_options& options() const noexcept { return options_; }
  /// Throws: error{wrong_process} in a copy of its process that was made by fork.
  void check_process() const { heap_->check_process("a pool"); }
  bool is_copy() const noexcept { return heap_->is_copy(); }
  shared_heap& heap() noexcept { return *heap_; }
  void begin_unit(pool_job& job, pool_unit& unit);

private:
  /// Holds the lock; what has to happen without it happens when this goes.
  class locked {
  public:
    /// `collecting`: the caller is one of collectors_.
    explicit locked(pool_core& core, bool collecting = false)
        : core_(core), lock_(core.mutex_), others_(collecting ? 1 : 0) {}
    locked(const locked&) = delete;
    locked& operator=(const locked&) = delete;
    ~locked() { release(); }
    void release() noexcept;
    void acquire() { lock_.lock(); }

  private:
    pool_core& core_;
    std::unique_lock<std::mutex> lock_;
    const int others_;
  };
  friend locked;
  struct remains;
  static std::shared_ptr<void> make_remains();

  using backlog = std::map<int, unit_list, std::greater<>>;  // by priority
  struct seat {
    std::unique_ptr<pool_lane> lane;  // null: none now
    bool starting = false;            // somebody is making one
    std::shared_ptr<void> last;       // what is left of the one before: whoever makes the next clears it away
    bool wanted = true;               // false: resized away
    time_point start_at{};            // not before
    std::size_t failures = 0;         // in a row
    backlog keyed;                    // units that only its worker may run
  };

  // -- units on their way (pool_dispatch.cpp); all locked
  // One more unit: the job is held while items of it have no answer.
  void expect(pool_job& job, std::uint32_t items) noexcept {
    if (job.unresolved == 0) job.hold();
    job.unresolved += items;
    ++outstanding_;
  }
  void enqueue(pool_unit& u) noexcept;
  void enqueue_front(pool_unit& u) noexcept;
  unit_list& place_of(const pool_unit& u);
  int seat_of(const pool_unit& u) const noexcept;  // -1: any
  /// Takes those that wait, here and for another attempt, for which `f(unit)` says so; queued_ still counts them.
  template <class F>
  void take_queued(F f, unit_list& into) noexcept {
    for (auto& [priority, list] : backlog_) list.take_if(f, into);
    for (seat& s : seats_)
      for (auto& [priority, list] : s.keyed) list.take_if(f, into);
    delayed_.take_if(f, into);
  }
  void feed_lanes() noexcept;
  pool_lane* best_lane(std::uint64_t ns) noexcept;
  void make_way() noexcept;
  bool dispatch(pool_lane& lane, pool_unit& u) noexcept;
  std::uint16_t flags_of(const pool_job& job) const noexcept {
    const bool watched = !deadline_of(job).is_none();
    return static_cast<std::uint16_t>((watched ? task_record::watched : 0) |
                                      (watched || job.options ? task_record::has_more : 0));
  }
  // Its items may write into their arguments: they do, and nobody will try them again.
  bool may_write(const pool_unit& u) const noexcept {
    const retry& again = retry_of(*u.job);
    return functions_[u.job->function].kind->writes && (!again.idempotent || u.attempt + 1 >= again.attempts);
  }
  bool send_function(pool_lane& lane, std::uint32_t number);
  std::uint32_t room(const pool_lane& lane, std::uint64_t ns) const noexcept;
  void help_idle_lanes(bool for_little) noexcept;
  pool_unit* take_from(pool_lane& lane) noexcept;
  pool_unit* cut_off(pool_lane& lane, std::uint32_t number, std::uint32_t keep) noexcept;
  void end_if_resolved(pool_lane& lane, std::uint32_t number) noexcept;
  /// How long a unit of these items will take; unknown_ns: nobody knows.
  std::uint64_t time_of(const pool_job& job, std::uint64_t items) const noexcept {
    const std::uint64_t ns = function_ns_[job.function];
    return ns == 0 ? unknown_ns : ns * items;
  }
  bool has_queued() const noexcept { return queued_ != 0; }
  const task_options* options_of(const pool_job& job) const noexcept { return job.options.get(); }
  const retry& retry_of(const pool_job& job) const noexcept {
    return job.options && !is_default(job.options->retry) ? job.options->retry : options_.retry;
  }
  int priority_of(const pool_unit& u) const noexcept { return u.job->options ? u.job->options->priority : 0; }
  const deadline& deadline_of(const pool_job& job) const noexcept {
    return job.options && !job.options->deadline.is_none() ? job.options->deadline : options_.deadline;
  }
  std::uint32_t function_number(const unit_function& f);
  task_id next_ids(std::uint64_t n) noexcept { return std::exchange(next_id_, next_id_ + n); }

  // -- answers (pool_collect.cpp); all locked
  bool collect() noexcept;
  bool collect_lane(pool_lane& lane) noexcept;
  bool peek() noexcept;
  bool peek(pool_lane& lane) noexcept;
  void on_result(pool_lane& lane, incoming&& item) noexcept;
  void on_place(pool_unit& u, std::span<const std::byte> bytes) noexcept;
  void on_values(pool_unit& u, std::uint32_t n, std::span<const std::byte> bytes,
                 std::vector<unique_fd>&& fds) noexcept;
  void items_done(pool_unit& u, std::uint32_t n, bool good) noexcept;
  void fail_item(pool_unit& u, std::uint32_t item, std::exception_ptr problem) noexcept;
  void fail_unit(pool_unit& u, std::exception_ptr problem) noexcept;
  void finish_unit(pool_unit& u) noexcept;
  void over(pool_lane& lane) noexcept;
  bool anything_to_collect() noexcept;
  std::uint64_t window_of(const feed_plan& plan) const noexcept;
  std::uint32_t feed_room(std::uint64_t wanted, std::uint32_t most, bool first, std::uint64_t ns) noexcept;
  std::uint64_t known_ns(const feed_plan& plan, const pool_job& job) const noexcept;
  void take_in(pool_unit& u) noexcept;
  pool_unit* split(pool_unit& u, std::uint32_t from, std::uint32_t count, bool is_over = false);
  void wait_for_bell(std::uint32_t known, time_point until);
  bool may_be_awaited(const pool_lane& lane) const noexcept;
  void await_dying(std::uint32_t known, time_point until) noexcept;

  // -- lives (pool_life.cpp)
  std::unique_ptr<pool_lane> make_lane(std::uint32_t seat);  // not locked
  void install(std::unique_ptr<pool_lane> lane);             // locked
  void start_later(std::uint32_t seat, bool failed) noexcept;
  void start_missing() noexcept;
  bool leave_starts() noexcept;
  void begin_starts() noexcept;                               // not locked
  void begin_start(std::uint32_t seat) noexcept;              // not locked
  void run_starter(std::uint32_t seat) noexcept;              // not locked
  void clear_away(std::uint32_t seat) noexcept;               // not locked
  void on_end(std::uint64_t serial, bool has_time) noexcept;  // not locked
  void find_and_bury(pool_lane* lane) noexcept;               // not locked
  using nameless = std::vector<std::pair<std::uint32_t, unit_function>>;
  void add_nameless(const pool_lane& lane, nameless& to) const;
  void name_functions(const nameless& wanted);                  // not locked
  void bury(pool_lane& lane, mp::post_mortem& found) noexcept;  // locked
  void settle_draft(pool_lane& lane, pool_unit& u, std::uint32_t done) noexcept;
  void casualty_of(pool_unit& u, std::uint32_t item, const mp::post_mortem& found) noexcept;
  void break_pool(const std::string& why) noexcept;
  void fail_queued(const std::exception_ptr& problem) noexcept;
  static std::exception_ptr cancelled_before() noexcept;
  bool is_unwanted(const pool_unit& u) const noexcept { return u.job->stop_asked || terminated_ || broken_; }
  void leave_if_over() noexcept;
  void tell_to_leave(pool_lane& lane) noexcept;
  void look_for_ends() noexcept;  // not locked
  void count(pool_stats& s);      // not locked
  bool is_over() const noexcept;

  // -- time (pool_time.cpp)
  void want_tick() noexcept;
  void tick() noexcept;  // the I/O thread
  void arm() noexcept;
  void watch_lanes() noexcept;
  void look_at_deadlines(time_point now) noexcept;
  void begin_kill(pool_lane& lane, std::uint32_t number, std::uint32_t item, death why, time_point now) noexcept;
  void end_unit(pool_lane& lane, std::uint32_t number, const std::exception_ptr& problem, time_point now) noexcept;
  void carry_out(pool_lane& lane, time_point now) noexcept;
  void stop_next(pool_lane& lane, time_point now) noexcept;
  void look_at_memory(pool_lane& lane, time_point now) noexcept;
  void report_progress() noexcept;
  void report_progress(pool_lane& lane) noexcept;
  static std::optional<progress_report> progress(pool_lane& lane, const pool_job& job);
  void post_callback(std::function<void()> f) noexcept;
  bool await_callbacks(time_point until);

  const pool_options options_;
  unique_fd memory_;
  shared_block bell_block_;
  shared_bell* bell_ = nullptr;
  robust_futex* lives_ = nullptr;    // of the lanes
  std::optional<shared_heap> heap_;  // for large arguments

  std::mutex mutex_;
  std::condition_variable changed_;  // a starter is done, a callback is back
  // Guarded by mutex_.
  std::vector<seat> seats_;
  std::vector<bool> lane_used_;
  backlog backlog_;
  unit_list delayed_;         // retries that wait for their time
  std::uint64_t queued_ = 0;  // units in backlog_, keyed and delayed_
  task_id next_id_ = 1;
  std::uint64_t outstanding_ = 0;  // units that are not over
  std::vector<unit_function> functions_;
  std::vector<std::uint64_t> function_ns_;  // how long an item of each takes; 0: not known
  std::vector<std::string> names_;          // of some of them
  restart_budget budget_;
  std::minstd_rand chance_;
  bool closed_ = false, terminated_ = false, broken_ = false;
  std::string broken_why_;
  pool_job* finished_ = nullptr;  // finish() is to be called
  pool_job* dead_ = nullptr;      // destroy() is
  std::vector<std::function<void()>> callbacks_;
  std::size_t callbacks_open_ = 0;     // given away, and not back yet
  std::vector<std::uint32_t> starts_;  // seats whose worker is to be started
  bool starts_left_ = false;           // to the I/O thread
  int starters_ = 0;
  int burials_ = 0;  // lanes that ended and are not freed yet
  std::uint64_t done_ = 0, failed_ = 0, cancelled_ = 0, retried_ = 0, deaths_ = 0;
  std::deque<dead_letter> letters_;
  verdict ends_;
  int collectors_ = 0;                       // threads that wait here
  std::atomic<int> feeders_{0};              // calls that have input left
  bool news_ = false;                        // for other collectors, when the lock is released
  std::atomic<std::uint32_t> news_told_{0};  // how often there were some; changes under the lock
  bool hooks_wait_ = false;
  bool timed_ = false;  // some unit has a deadline
  std::uint64_t lanes_made_ = 0;
  bool ticking_ = false, arming_ = false;
  std::map<pool_unit*, std::uint32_t> said_;  // what was last reported of each, by its counter

  std::shared_ptr<pool_core> self_;  // until its last worker has gone

  std::atomic<std::ptrdiff_t> seat_count_{0};
  oom_watch oom_;
  std::shared_ptr<asio::steady_timer> timer_;  // the I/O thread's
};

}  // namespace mp::detail
