#pragma once
/// @file
/// The typed jobs of a pool: one task, and a run of items whose results are gathered.
/// Not for users: `pool` is their way in.
///
/// Copies:   results are decoded where they arrive, if that runs no code of the user; else their bytes are kept until
///           the answer is taken.
/// Threads:  as pool_job.            Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/pool_face.hpp"
#include "mp/detail/pool_feed.hpp"
#include "mp/detail/pool_job.hpp"
#include "mp/detail/pool_spans.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/remote_error.hpp"

#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace mp::detail {

template <class R>
inline constexpr bool reads_by_itself_or_void = [] {
  if constexpr (std::is_void_v<R> || is_span_result<R>)
    return true;
  else
    return reads_by_itself<R>();
}();

/// One value, whose bytes may have to wait for the thread that takes it.
template <class R>
R read_result(std::span<const std::byte> bytes, std::vector<unique_fd>&& fds) {
  decoder d(bytes, std::move(fds));
  R value = decode<R>(d);
  d.finish();
  return value;
}

/// A task of its own: future and job in one.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class R>
class task_state final : public future_state<R>, public pool_job {
  using value_type = typename future_state<R>::value_type;

public:
  explicit task_state(core_ptr core) noexcept : core_(std::move(core)) {}

private:
  const core_ptr core_;  // outlives the unit, whose memory may be the pool's

public:
  pool_unit unit{};  // most tasks are one unit for ever; a retry makes another one beside it

  // -- the future's side
  bool wait_until(time_point until) noexcept override {
    if (this->is_ready()) return true;
    // Whoever waits works: it collects for everybody until its own answer is there.
    if (!collect_until(
            *core_, [](void* p) { return static_cast<task_state*>(p)->unresolved == 0; }, this, until))
      return this->is_ready();
    // Whoever found it publishes it at once.
    return future_base::wait_until(time_point::max());
  }
  bool cancel() override { return !this->is_ready() && cancel_job(*core_, *this); }
  task_id id() const noexcept override { return unit.id; }
  std::optional<progress_report> progress() const override {
    return progress_of(*core_, const_cast<task_state&>(*this));
  }
  // On the thread that wants it, without the lock: the user's hooks may run, and may ask the pool.
  value_type take() override {
    if (this->error_) this->error_ = open_exception(std::move(this->error_));
    if constexpr (!reads_by_itself_or_void<R>)
      if (kept_) {
        const auto kept = std::move(kept_);
        return read_result<R>(kept->bytes, std::move(kept->fds));
      }
    return future_state<R>::take();
  }

  // -- the job's side
  void hold() noexcept override { this->add_ref(); }
  bool drop() noexcept override { return this->drop_ref_last(); }
  void destroy() noexcept override { delete this; }
  void accept(std::uint64_t, std::uint32_t, std::span<const std::byte> values, std::vector<unique_fd>&& fds) override {
    if constexpr (std::is_void_v<R>)
      this->value_.emplace();
    else if constexpr (reads_by_itself<R>())
      this->value_.emplace(read_result<R>(values, std::move(fds)));
    else
      kept_ = std::make_unique<encoded>(encoded{std::vector<std::byte>(values.begin(), values.end()), std::move(fds)});
  }
  void accept_place(std::uint64_t item, std::span<const std::byte> elements, unit_bytes& there) override {
    if constexpr (comes_from_span<R>)
      this->value_.emplace(copy_of_elements<R>(elements));
    else
      pool_job::accept_place(item, elements, there);
  }
  void fail(std::uint64_t, std::exception_ptr problem) noexcept override { this->error_ = std::move(problem); }
  void recycle(pool_unit* u) noexcept override {
    if (u != &unit) {
      delete u;
      return;
    }
    // Not with the future, which may live long.
    if (u->extras) u->extras->fds.clear();
    u->bytes.drop_shared();
  }
  bool progressed(std::uint64_t left) noexcept override { return left == 0; }
  void finish() noexcept override {
    if (this->claim()) this->publish();
  }

private:
  ~task_state() override = default;
  void attend() override { attend_pool(*core_); }

  [[no_unique_address]] std::conditional_t<reads_by_itself_or_void<R>, std::monostate, std::unique_ptr<encoded>> kept_;
};

/// Where the results of a map lie until they are all there.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R>
class result_store {
public:
  // In place where that is possible, so that the vector can be given away as it is.
  static constexpr bool in_place = std::is_default_constructible_v<R> && !std::is_same_v<R, bool>;
  using element = std::conditional_t<in_place, R, std::optional<R>>;

  // Made at once: a vector that grows would copy large results again and again.
  void reserve(std::size_t n) { values_.resize(n); }
  /// The values of `count` items, back to back. Throws: error{undecodable}.
  void read(std::uint64_t first, std::uint32_t count, std::span<const std::byte> bytes, std::vector<unique_fd>&& fds) {
    const std::size_t end = grow(static_cast<std::size_t>(first) + count);
    if constexpr (in_place && is_bulk<R>) {
      if (bytes.size() == count * sizeof(R)) {
        std::memcpy(values_.data() + first, bytes.data(), bytes.size());
        return;
      }
    }
    decoder d(bytes, std::move(fds));
    for (std::size_t i = static_cast<std::size_t>(first); i != end; ++i) {
      d.begin_message();
      values_[i] = decode<R>(d);
    }
    d.finish();
  }
  void place(std::uint64_t at, R value) {
    grow(static_cast<std::size_t>(at) + 1);
    values_[static_cast<std::size_t>(at)] = std::move(value);
  }
  std::vector<R> take(std::size_t n) {
    values_.resize(n);
    if constexpr (in_place) {
      return std::move(values_);
    } else {
      std::vector<R> all;
      all.reserve(n);
      for (auto& v : values_) all.push_back(std::move(*v));
      return all;
    }
  }

private:
  std::size_t grow(std::size_t end) {
    if (values_.size() < end) values_.resize(std::max(end, values_.size() + values_.size() / 2));
    return end;
  }
  std::vector<element> values_;
};

/// All items of a map, gathered.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class R>
class map_state final : public future_state<std::conditional_t<std::is_void_v<R>, void, std::vector<unit_for_void<R>>>>,
                        public pool_job {
  using answer = std::conditional_t<std::is_void_v<R>, void, std::vector<unit_for_void<R>>>;
  using base = future_state<answer>;

public:
  explicit map_state(core_ptr core) noexcept : core_(std::move(core)) {}
  void expect(std::size_t n) {
    if constexpr (!std::is_void_v<R>) store_.reserve(n);
  }
  pool_unit* fresh_unit() { return units_.fresh(*core_, items_); }
  void give_back(pool_unit* u) noexcept { units_.give_back(u); }
  void count_items(std::uint64_t n) noexcept { items_ += n; }
  std::uint64_t items() const noexcept { return items_; }
  /// No more items will come; complete as soon as all have their answer.
  void seal() {
    bool now = false;
    struct {
      map_state* self;
      bool* now;
    } c{this, &now};
    with_pool_lock(
        *core_,
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          in.self->sealed_ = true;
          *in.now = in.self->unresolved == 0;
        },
        &c);
    if (now) finish();
  }
  const core_ptr& core() const noexcept { return core_; }
  void stop_with(std::stop_token stop) {
    if (stop.stop_possible()) stop_.emplace(std::move(stop), canceller{this});
  }
  /// The input's own error is the answer, once what was read has ended. Not locked.
  void end_with(std::exception_ptr problem) {
    struct {
      map_state* self;
      std::exception_ptr* problem;
    } c{this, &problem};
    with_pool_lock(
        *core_,
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          in.self->input_problem_ = std::move(*in.problem);
        },
        &c);
  }
  /// Not all of the input was read: that is the answer, unless an item that was read has failed. Not locked.
  void end_early(std::exception_ptr problem) {
    struct {
      map_state* self;
      std::exception_ptr* problem;
    } c{this, &problem};
    with_pool_lock(
        *core_,
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          in.self->fail(in.self->items_, std::move(*in.problem));
        },
        &c);
  }

  bool wait_until(time_point until) noexcept override {
    if (this->is_ready()) return true;
    if (!collect_until(
            *core_, [](void* p) { return static_cast<map_state*>(p)->is_over(); }, this, until))
      return this->is_ready();
    return future_base::wait_until(time_point::max());
  }
  bool cancel() override { return !this->is_ready() && cancel_job(*core_, *this); }
  /// Locked.
  bool is_over() const noexcept { return sealed_ && unresolved == 0; }

  void hold() noexcept override { this->add_ref(); }
  bool drop() noexcept override { return this->drop_ref_last(); }
  void destroy() noexcept override { delete this; }
  void accept(std::uint64_t first, std::uint32_t count, std::span<const std::byte> values,
              std::vector<unique_fd>&& fds) override {
    if constexpr (!std::is_void_v<R>) {
      if constexpr (reads_by_itself<R>())
        store_.read(first, count, values, std::move(fds));
      else
        kept_.push_back({first, count, {values.begin(), values.end()}, std::move(fds)});
    }
  }
  void accept_place(std::uint64_t item, std::span<const std::byte> elements, unit_bytes& there) override {
    if constexpr (comes_from_span<R>)
      store_.place(item, copy_of_elements<R>(elements));
    else
      pool_job::accept_place(item, elements, there);
  }
  // The first by position is the one that is thrown; the others are only counted.
  void fail(std::uint64_t item, std::exception_ptr problem) noexcept override {
    if (item < failed_at_) {
      failed_at_ = item;
      this->error_ = std::move(problem);
    }
  }
  void recycle(pool_unit* u) noexcept override { units_.recycle(u); }
  // Before it is sealed more items may come, although all so far have their answer.
  bool progressed(std::uint64_t left) noexcept override { return sealed_ && left == 0; }
  void finish() noexcept override {
    if (!this->claim()) return;
    if constexpr (std::is_void_v<R>) this->value_.emplace();
    this->publish();
  }
  typename base::value_type take() override {
    if (input_problem_) std::rethrow_exception(std::exchange(input_problem_, nullptr));
    if (this->error_) this->error_ = open_exception(std::move(this->error_));
    if constexpr (!std::is_void_v<R>) {
      // Here, where the user's own functions may run.
      for (auto& k : kept_) try {
          store_.read(k.first, k.count, k.bytes, std::move(k.fds));
        } catch (...) {
          fail(k.first, std::current_exception());
        }
      kept_.clear();
      if (!this->error_) this->value_.emplace(store_.take(static_cast<std::size_t>(items_)));
    }
    return base::take();
  }

private:
  struct kept_values {
    std::uint64_t first;
    std::uint32_t count;
    std::vector<std::byte> bytes;
    std::vector<unique_fd> fds;
  };

  struct canceller {
    map_state* self;
    void operator()() const noexcept { self->cancel(); }
  };

  ~map_state() override { stop_.reset(); }
  void attend() override { attend_pool(*core_); }

  const core_ptr core_;
  unit_store units_;
  std::uint64_t items_ = 0;  // the feeding thread's, then whoever takes
  // Locked.
  bool sealed_ = false;
  std::uint64_t failed_at_ = UINT64_MAX;
  std::exception_ptr input_problem_;
  std::conditional_t<std::is_void_v<R>, std::monostate, result_store<unit_for_void<R>>> store_;
  std::vector<kept_values> kept_;
  std::optional<std::stop_callback<canceller>> stop_;
};

}  // namespace mp::detail
