#pragma once
/// @file
/// Worker processes that run tasks: submit, map and their kin.
///
/// Model:    Python's multiprocessing.Pool and concurrent.futures; different: a worker's death costs one task and is
///           explained, a task can be cancelled, have a deadline, be retried.
/// Shape:    whoever submits puts into a worker's lane, whoever waits collects: no thread in between.
/// Copies:   arguments are encoded when they are submitted, results are decoded where they arrive. A std::span<const T> or
///           std::string_view parameter looks at the argument where it lies, read-only, until the task returns. A task
///           that returns a std::span<T> of plain elements may take one to write to: a part of large arguments stays where
///           it is, for imap to show; other calls give a std::vector<T>.
/// Threads:  thread-safe but for move and destruction.   Processes: process-bound; workers may have pools of their own.
/// Life:     workers live as long as the pool; its destructor terminates it and waits.
/// Death:    not started: given to another, unseen. Started: worker_died, or tried again if .retry says idempotent.
///           Finished: delivered, whatever becomes of the worker.
/// Source:   doc/decisions/0009-pools.md.
///
/// Example:  samples/04_pool.cpp

#include "mp/detail/pool_face.hpp"
#include "mp/detail/pool_feed.hpp"
#include "mp/detail/pool_states.hpp"
#include "mp/detail/pool_stream.hpp"
#include "mp/detail/pool_types.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/future.hpp"
#include "mp/pool_options.hpp"
#include "mp/pool_results.hpp"
#include "mp/remote_error.hpp"
#include "mp/verdict.hpp"

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp {
/// Worker processes, and the tasks given to them.
///
/// A task is any function, function pointer, captureless lambda or plain functor with its arguments; what it returns or
/// throws comes back. Workers have a process group of their own, ignore SIGINT, read from /dev/null, and end with this
/// process however it ends.
///
/// Whoever waits (get, map, join ..) works: it collects results for everybody and feeds the workers. So a program that
/// waits needs no other thread; one that only submits is served by the library's I/O thread.
///
/// With a key (task_options) tasks run on the same worker, in order; without one they go to whoever is idle. Higher
/// priorities go first among those that wait. A deadline or a cancellation first trips the task's stop token, if it has
/// asked for one, and after the grace ends its worker, which is replaced.
///
/// Threads:  thread-safe but for move and destruction.   Processes: process-bound.
class pool {
public:
  /// Starts all workers; does not wait for initializers.
  ///
  /// Throws:   error{invalid_argument}; as process::start; no worker is left behind.
  pool() : pool(pool_options{}) {}
  template <std::integral N>
  requires(!std::same_as<N, bool>) explicit pool(N workers)
      : pool(pool_options{.workers = static_cast<std::ptrdiff_t>(workers)}) {}
  explicit pool(pool_options options) : core_(detail::make_pool_core(std::move(options))) {}
  pool(pool&&) noexcept = default;
  pool& operator=(pool&& other) noexcept {
    pool old(std::move(*this));
    core_ = std::move(other.core_);
    return *this;
  }
  /// Terminates, and joins: bounded, because what does not end is killed. Futures stay valid: what had no answer has
  /// error{cancelled} then. On the I/O thread it does not wait; the workers end all the same. Callbacks of the options
  /// (on_worker_exit, on_progress) have returned when this or join has, unless they run on an executor of yours.
  ~pool() {
    if (core_) detail::abandon_pool(std::move(core_));
  }

  /// Runs `f(args...)` in a worker and gives what it returns.
  ///
  /// Waits:    for the answer.
  /// Throws:   as submit, and as future::get.
  template <class F, class... A>
  requires detail::not_task_options<F>
  auto apply(F&& f, A&&... args) -> detail::task_result_t<F, A...> {
    detail::check_may_wait("pool::apply");
    return submit(std::forward<F>(f), std::forward<A>(args)...).get();
  }
  template <class F, class... A>
  auto apply(const task_options& options, F&& f, A&&... args) -> detail::task_result_t<F, A...> {
    detail::check_may_wait("pool::apply");
    return submit(options, std::forward<F>(f), std::forward<A>(args)...).get();
  }

  /// Runs `f(args...)` in a worker; its answer comes through the future.
  ///
  /// Waits:    only for max_queued; try_submit never: nullopt.
  /// Throws:   error{unencodable}, error{too_large}, error{pool_closed}, error{pool_broken}, error{invalid_argument}.
  template <class F, class... A>
  requires detail::not_task_options<F>
  auto submit(F&& f, A&&... args) -> future<detail::task_result_t<F, A...>> {
    return *submit_task(nullptr, true, std::forward<F>(f), std::forward<A>(args)...);
  }
  template <class F, class... A>
  auto submit(const task_options& options, F&& f, A&&... args) -> future<detail::task_result_t<F, A...>> {
    return *submit_task(&options, true, std::forward<F>(f), std::forward<A>(args)...);
  }
  template <class F, class... A>
  auto try_submit(const task_options& options, F&& f, A&&... args)
      -> std::optional<future<detail::task_result_t<F, A...>>> {
    return submit_task(&options, false, std::forward<F>(f), std::forward<A>(args)...);
  }

  /// Runs `f(item)` for each item, `starmap` `f(elements of item...)`; gives the results in the order of the input.
  /// All items run, then the first error by position is thrown. Only the calling thread reads the input; the *_async
  /// forms read all of it before they return. What the input throws is thrown once what was read has ended.
  ///
  /// Waits:    until all have ended; the *_async forms do not.
  /// Throws:   as submit; what the first failed item's future would throw.
  template <class F, std::ranges::input_range R>
  auto map(F&& f, R&& in, const map_options& options = {}) -> detail::vector_of_t<detail::item_result_t<F, R>> {
    return run_map<false, detail::item_result_t<F, R>>(f, in, options);
  }
  template <class F, class T>
  auto map(F&& f, std::initializer_list<T> in, const map_options& options = {})
      -> detail::vector_of_t<detail::task_result_t<F, const T&>> {
    return run_map<false, detail::task_result_t<F, const T&>>(f, in, options);
  }
  template <class F, std::ranges::input_range R>
  auto starmap(F&& f, R&& tuples, const map_options& options = {}) -> detail::vector_of_t<detail::star_result_t<F, R>> {
    return run_map<true, detail::star_result_t<F, R>>(f, tuples, options);
  }
  template <class F, std::ranges::input_range R>
  void for_each(F&& f, R&& in, const map_options& options = {}) {
    static_cast<void>(run_map<false, detail::item_result_t<F, R>>(f, in, options));
  }
  template <class F, std::ranges::input_range R>
  auto map_async(F&& f, R&& in, const map_options& options = {})
      -> future<detail::vector_of_t<detail::item_result_t<F, R>>> {
    return start_map<false, detail::item_result_t<F, R>>(f, in, options);
  }
  template <class F, std::ranges::input_range R>
  auto starmap_async(F&& f, R&& tuples, const map_options& options = {})
      -> future<detail::vector_of_t<detail::star_result_t<F, R>>> {
    return start_map<true, detail::star_result_t<F, R>>(f, tuples, options);
  }

  /// Lazy: whoever takes results reads the input, at most look_ahead items in front. imap gives results in the order of
  /// the input, imap_unordered as they end; outcomes, too, with errors as values. Ranges are kept or borrowed as by
  /// std::views::all.
  ///
  /// Throws:   error{invalid_argument}, error{pool_closed}, error{pool_broken}.
  template <class F, std::ranges::input_range R>
  auto imap(F&& f, R&& in, const map_options& options = {}) -> results<detail::item_seen_t<F, R>> {
    using result = detail::item_seen_t<F, R>;
    return results<result>(stream_over<result>(f, std::forward<R>(in), options, true));
  }
  template <class F, std::ranges::input_range R>
  auto imap_unordered(F&& f, R&& in, const map_options& options = {}) -> results<detail::item_seen_t<F, R>> {
    using result = detail::item_seen_t<F, R>;
    return results<result>(stream_over<result>(f, std::forward<R>(in), options, false));
  }
  template <class F, std::ranges::input_range R>
  auto outcomes(F&& f, R&& in, const map_options& options = {}) -> results<outcome<detail::item_result_t<F, R>>> {
    using result = detail::item_result_t<F, R>;
    return results<outcome<result>>(stream_over<result>(f, std::forward<R>(in), options, false));
  }

  /// Runs `f(args...)` once on each present worker; results in their order.
  ///
  /// Waits:    until all have ended.
  /// Throws:   as map.
  template <class F, class... A>
  auto broadcast(F&& f, A&&... args) -> detail::vector_of_t<detail::task_result_t<F, A...>> {
    using result = detail::task_result_t<F, A...>;
    detail::pool_core& core = open("pool::broadcast");
    detail::check_may_wait("pool::broadcast");
    std::vector<detail::state_ptr<detail::task_state<result>>> states;
    std::vector<detail::pool_unit*> units;
    const std::uint32_t function = detail::register_function(core, function_of<A...>(f));
    for (std::ptrdiff_t i = detail::worker_count(core); i > 0; --i) {
      states.push_back(bind_task<result>(nullptr, f, args...));
      states.back()->function = function;
      units.push_back(&states.back()->unit);
    }
    detail::submit_to_each(core, units);
    std::vector<future<result>> futures;
    for (auto& s : states) futures.push_back(detail::future_access::make<result>(std::move(s)));
    for (auto& one : futures) one.wait();
    if constexpr (std::is_void_v<result>) {
      for (auto& one : futures) one.get();
    } else {
      std::vector<result> all;
      for (auto& one : futures) all.push_back(one.get());
      return all;
    }
  }

  /// No more tasks; those accepted still run, then the workers leave. Idempotent. Throws: error{closed}: moved from.
  void close() { detail::close_pool(open("pool::close")); }
  /// No more tasks, and all queued and running ones are cancelled. Idempotent, never waits.
  /// Throws:   error{closed}: moved from.
  void terminate() { detail::terminate_pool(open("pool::terminate")); }
  /// Waits:    until all workers have gone; join_for at most `limit`: false.
  /// Throws:   error{still_open}: neither closed nor terminated; error{would_deadlock}.
  void join() { static_cast<void>(detail::join_pool(open("pool::join"), time_point::max())); }
  [[nodiscard]] bool join_for(duration limit) {
    return detail::join_pool(open("pool::join_for"), deadline_after(std::chrono::steady_clock::now(), limit));
  }
  /// Closes, waits at most `limit`, terminates what is left, and says who went how.
  /// Throws:   error{would_deadlock}.
  [[nodiscard]] verdict drain(duration limit) { return detail::drain_pool(open("pool::drain"), limit); }
  /// More or fewer workers; those too many go after their present task, new ones come as they are started. Keys are
  /// dealt out anew.
  /// Throws:   error{invalid_argument}, error{pool_closed}.
  void resize(std::ptrdiff_t workers) { detail::resize_pool(open("pool::resize"), workers); }

  /// Throws:   error{closed}: moved from.
  pool_stats stats() const { return detail::stats_of(open("pool::stats")); }
  /// The tasks that ended their workers for good, the oldest first, at most 1,000. Throws: as stats.
  std::vector<dead_letter> dead_letters() const { return detail::letters_of(open("pool::dead_letters")); }

private:
  detail::pool_core& open(const char* what) const {
    if (!core_) detail::throw_error(errc::closed, std::string(what) + ": this pool was moved from");
    return *core_;
  }

  /// Throws: error{invalid_argument}: a null function.
  template <class... A, class F>
  static detail::unit_function function_of(const F& f) {
    detail::check_task<F, A...>(f);
    return detail::unit_maker_for<F, A...>::function(f);
  }

  template <class R, class F, class... A>
  auto bind_task(const task_options* options, F&& f, A&&... args) -> detail::state_ptr<detail::task_state<R>> {
    using maker = detail::unit_maker_for<F, A...>;
    const std::decay_t<F>& callable = f;
    auto state = detail::make_state<detail::task_state<R>>(core_);
    if (options) {
      detail::check_task_options(*options);
      state->options = std::make_unique<const task_options>(*options);
    }
    detail::pool_unit& unit = state->unit;
    detail::begin_unit(*core_, *state, unit);
    const auto values = maker::template convert<A&&...>(std::forward<A>(args)...);
    detail::unit_writer(*core_, unit).add([&](detail::encoder& e) {
      maker::write_state(e, callable);
      e.begin_message();
      maker::write_item(e, values);
    });
    unit.count = 1;
    maker::drop(std::forward<A>(args)...);
    return state;
  }

  template <class F, class... A>
  auto submit_task(const task_options* options, bool wait, F&& f, A&&... args)
      -> std::optional<future<detail::task_result_t<F, A...>>> {
    using result = detail::task_result_t<F, A...>;
    detail::pool_core& core = open("pool::submit");
    const detail::unit_function function = function_of<A...>(f);
    auto state = bind_task<result>(options, std::forward<F>(f), std::forward<A>(args)...);
    if (!detail::submit_unit(core, state->unit, function, wait)) return std::nullopt;
    return detail::future_access::make<result>(std::move(state));
  }

  template <bool Star, class Result, class F, class Range, class Body>
  auto with_map(const F& f, Range& in, const map_options& options, Body body) {
    detail::pool_core& core = open("pool::map");
    detail::check_open(core);
    using state_type = detail::map_state<Result>;
    using iterator = std::ranges::iterator_t<Range>;
    using sentinel = std::ranges::sentinel_t<Range>;
    using feeder_type = detail::range_feeder<Star, F, iterator, sentinel, state_type>;
    feeder_type::check(f);
    auto state = detail::make_state<state_type>(core_);
    state->function = detail::register_function(core, feeder_type::maker::function(f));
    state->options = detail::options_for(options);
    const std::uint64_t total = detail::size_of(in);
    if (total != UINT64_MAX) state->expect(static_cast<std::size_t>(total));
    feeder_type feeder(*state, f, std::ranges::begin(in), std::ranges::end(in), total);
    return body(core, std::move(state), feeder, total);
  }

  template <bool Star, class Result, class F, class Range>
  auto run_map(F&& f, Range& in, const map_options& options) -> detail::vector_of_t<Result> {
    const std::decay_t<F> callable = f;
    return with_map<Star, Result>(callable, in, options,
                                  [&](detail::pool_core& core, auto state, auto& feeder, std::uint64_t total) {
                                    detail::check_may_wait("pool::map");
                                    auto answer = detail::future_access::make<detail::vector_of_t<Result>>(state);
                                    detail::map_watch watch(core, *state, options, total);
                                    watch.run(feeder, detail::plan_for(options, detail::worker_count(core), false));
                                    if (!feeder.is_exhausted()) state->end_early(detail::why_unfed(core, *state, true));
                                    state->seal();
                                    answer.wait();
                                    if (feeder.problem()) std::rethrow_exception(feeder.problem());
                                    return answer.get();
                                  });
  }

  template <bool Star, class Result, class F, class Range>
  auto start_map(F&& f, Range& in, const map_options& options) -> future<detail::vector_of_t<Result>> {
    const std::decay_t<F> callable = f;
    return with_map<Star, Result>(
        callable, in, options, [&](detail::pool_core& core, auto state, auto& feeder, std::uint64_t) {
          state->stop_with(options.stop);
          detail::feed_all(core, *state, feeder, detail::plan_for(options, detail::worker_count(core), false));
          if (feeder.problem()) state->end_with(feeder.problem());
          state->seal();
          return detail::future_access::make<detail::vector_of_t<Result>>(std::move(state));
        });
  }

  template <class Result, class F, class Range>
  auto stream_over(F&& f, Range&& in, const map_options& options, bool ordered)
      -> std::unique_ptr<detail::stream<Result>> {
    detail::pool_core& core = open("pool::imap");
    detail::check_open(core);
    using state_type = detail::stream_state<Result>;
    using feeder_type = detail::owning_feeder<std::decay_t<F>, detail::kept_range<Range>, state_type>;
    feeder_type::check(f);
    auto state = detail::make_state<state_type>(core_, ordered);
    const std::decay_t<F> callable = f;
    state->function = detail::register_function(core, feeder_type::maker::function(callable));
    state->options = detail::options_for(options);
    detail::feed_plan plan = detail::plan_for(options, detail::worker_count(core), true);
    plan.alone = !detail::reads_by_itself_or_void<Result>;
    auto feeder = std::make_unique<feeder_type>(*state, callable, std::forward<Range>(in));
    state->stop_with(options.stop);
    return std::make_unique<detail::stream<Result>>(std::move(state), std::move(feeder), plan);
  }

  detail::core_ptr core_;
};

}  // namespace mp
