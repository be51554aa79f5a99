#pragma once
/// @file
/// Results that come one by one, while the input is read: what imap gives.
/// Not for users: `pool` is their way in.
///
/// Shape:    a window of items is under way; the thread that takes results reads the input and feeds.
/// Threads:  one thread at a time.   Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/pool_states.hpp"
#include "mp/detail/pool_stream_item.hpp"
#include "mp/remote_error.hpp"

#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <utility>

namespace mp::detail {

/// Somebody who is told, once, when a stream's next item is there, or none can come.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R>
class stream_listener {
public:
  virtual ~stream_listener() = default;
  stream_listener(const stream_listener&) = delete;
  stream_listener& operator=(const stream_listener&) = delete;
  /// Not locked, on the thread that brought the item. Null: it was told to listen no more, or there was no memory.
  virtual void told(std::unique_ptr<stream_item<R>> item) noexcept = 0;

protected:
  stream_listener() = default;
};

/// The job of an imap.
///
/// Threads:  see pool_job.   Processes: process-bound.
template <class R>
class stream_state final : public pool_job {
public:
  stream_state(core_ptr core, bool ordered) noexcept : core_(std::move(core)), ordered_(ordered) {}

  const core_ptr& core() const noexcept { return core_; }
  pool_unit* fresh_unit() { return units_.fresh(*core_, items_); }
  void give_back(pool_unit* u) noexcept { units_.give_back(u); }
  void count_items(std::uint64_t n) noexcept { items_ += n; }
  void stop_with(std::stop_token stop) {
    if (stop.stop_possible()) stop_.emplace(std::move(stop), canceller{this});
  }
  void add_ref() noexcept { hold(); }
  void drop_ref() noexcept { let_go(); }

  /// Locked. Is the next one there?
  bool has_next() const noexcept { return !ready_.empty() && ready_.front().is_there; }
  /// Locked.
  stream_item<R> pop() {
    stream_item<R> item = std::move(ready_.front());
    ready_.pop_front();
    ++first_;
    --there_;
    return item;
  }

  /// Locked. The next item goes to `who`, unless it is there now, or nothing is under way: false. A number to stop it by.
  bool listen(std::unique_ptr<stream_listener<R>>& who, std::uint64_t& number) noexcept {
    if (has_next() || unresolved == 0) return false;
    listener_ = std::move(who);
    number = ++listeners_;
    return true;
  }
  /// Tells the listener of this number that it listens no more, if it does. Not locked.
  void stop_listening(std::uint64_t number) noexcept {
    if (auto who = take_listener(&number, nullptr)) who->told(nullptr);
  }

  void hold() noexcept override { refs_.fetch_add(1, std::memory_order_relaxed); }
  bool drop() noexcept override { return refs_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  void destroy() noexcept override { delete this; }
  void accept(std::uint64_t first, std::uint32_t count, std::span<const std::byte> values,
              std::vector<unique_fd>&& fds) override {
    if constexpr (std::is_void_v<R>) {
      for (std::uint32_t i = 0; i < count; ++i) place(first + i).value.emplace();
    } else if constexpr (reads_by_itself_or_void<R>) {
      decoder d(values, std::move(fds));
      std::uint32_t placed = 0;
      try {
        for (; placed < count; ++placed) {
          d.begin_message();
          if constexpr (is_span_result<R>) {
            const std::size_t bytes = d.count(sizeof(typename R::value_type)) * sizeof(typename R::value_type);
            auto copy = std::make_unique<unit_bytes>();
            copy->reserve(bytes + least_shown, &heap_of(*core_));
            copy->append({d.take(bytes), bytes});
            const auto view = copy->view();
            show(first + placed, view, std::move(copy));
          } else {
            R value = read(d);
            place(first + placed).value.emplace(std::move(value));
          }
        }
      } catch (...) {
        // None of them was taken.
        if (!ordered_) {
          there_ -= placed;
          while (placed-- != 0) ready_.pop_back();
        }
        throw;
      }
    } else {  // one item a record: units have one item then
      place(first).kept =
          std::make_unique<encoded>(encoded{std::vector<std::byte>(values.begin(), values.end()), std::move(fds)});
    }
  }
  void accept_place(std::uint64_t item, std::span<const std::byte> elements, unit_bytes& there) override {
    if constexpr (is_span_result<R>) {
      show(item, elements, std::make_unique<unit_bytes>()).take(there);
    } else if constexpr (comes_from_span<R>) {
      R value = copy_of_elements<R>(elements);
      place(item).value.emplace(std::move(value));
    } else {
      pool_job::accept_place(item, elements, there);
    }
  }
  void fail(std::uint64_t item, std::exception_ptr problem) noexcept override {
    try {
      place(item).problem = std::move(problem);
    } catch (...) {
      // No memory for the answer: the stream stays without it, and ends when its pool does.
    }
  }
  /// Not locked, the consumer: it is done with this one.
  void take_back(unit_for_void<R>& value) noexcept requires(reusable<R>) {
    if (value.capacity() * sizeof(*value.data()) < worth_reusing) return;
    struct {
      stream_state* self;
      unit_for_void<R>* value;
    } c{this, &value};
    with_pool_lock(
        *core_,
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          if (in.self->spare_.capacity() < in.value->capacity()) std::swap(in.self->spare_, *in.value);
        },
        &c);
  }
  void recycle(pool_unit* u) noexcept override { units_.recycle(u); }
  bool progressed(std::uint64_t left) noexcept override {
    if (!listener_ || telling_ || !(has_next() || left == 0)) return false;
    return telling_ = true;
  }
  void finish() noexcept override {
    std::unique_ptr<stream_item<R>> item;
    if (auto who = take_listener(nullptr, &item)) who->told(std::move(item));
  }
  std::uint64_t ahead() const noexcept override { return unresolved + there_; }

private:
  struct canceller {
    stream_state* self;
    void operator()() const noexcept { static_cast<void>(cancel_job(*self->core_, *self)); }
  };

  static constexpr std::size_t worth_reusing = 64 * 1024;  // bytes; below it memory comes as fast as from here

  static constexpr std::size_t least_shown = 64;  // bytes: never within the unit_bytes, whose alignment is theirs

  ~stream_state() = default;
  // Locked. Elements that the item holds, once it has them.
  unit_bytes& show(std::uint64_t index, std::span<const std::byte> elements,
                   std::unique_ptr<unit_bytes> in) requires is_span_result<R> {
    const auto all = elements_at<typename R::element_type>(elements);
    if (R::extent != std::dynamic_extent && R::extent != all.size()) decoder::throw_invalid("a span of another length");
    stream_item<R>& item = place(index);
    item.value.emplace(all.data(), all.size());
    item.shown = std::move(in);
    return *item.shown;
  }
  unit_for_void<R> read(decoder& d) {
    if constexpr (reusable<R>)
      if (spare_.capacity() != 0) {
        R value = std::move(spare_);
        spare_ = R();
        io<R>::read_again(d, value);
        return value;
      }
    if constexpr (std::is_void_v<R>)
      return {};
    else
      return decode<R>(d);
  }
  std::unique_ptr<stream_listener<R>> take_listener(const std::uint64_t* only,
                                                    std::unique_ptr<stream_item<R>>* item) noexcept {
    struct {
      stream_state* self;
      const std::uint64_t* only;
      std::unique_ptr<stream_item<R>>* item;
      std::unique_ptr<stream_listener<R>> who;
    } c{this, only, item, nullptr};
    with_pool_lock(
        *core_,
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          if (in.only && *in.only != in.self->listeners_) return;
          if (in.item) in.self->telling_ = false;
          in.who = std::move(in.self->listener_);
          if (in.who && in.item && in.self->has_next()) try {
              *in.item = std::make_unique<stream_item<R>>(in.self->pop());
            } catch (...) {
            }
        },
        &c);
    return std::move(c.who);
  }
  stream_item<R>& place(std::uint64_t index) {
    if (!ordered_) {
      ready_.emplace_back();
      ready_.back().index = index;
      ready_.back().is_there = true;
      ++there_;
      return ready_.back();
    }
    while (first_ + ready_.size() <= index) ready_.emplace_back();
    stream_item<R>& item = ready_[static_cast<std::size_t>(index - first_)];
    item.index = index;
    if (!std::exchange(item.is_there, true)) ++there_;
    return item;
  }

  const core_ptr core_;
  const bool ordered_;
  std::atomic<std::uint32_t> refs_{1};
  unit_store units_;
  std::uint64_t items_ = 0;  // the consumer's
  // Locked.
  std::uint64_t first_ = 0;  // index of ready_'s first, if ordered
  std::uint64_t there_ = 0;  // of ready_
  std::deque<stream_item<R>> ready_;
  [[no_unique_address]] typename spare_of<R>::type spare_;  // what the consumer has let go of
  std::unique_ptr<stream_listener<R>> listener_;
  std::uint64_t listeners_ = 0;  // so far
  bool telling_ = false;         // finish() is about to be called
  std::optional<std::stop_callback<canceller>> stop_;
};

/// What is in an error that came instead of a result.
void explain(const std::exception_ptr& problem, std::optional<mp::failure>& failure,
             std::optional<mp::post_mortem>& post_mortem, std::error_code& code);

/// The consumer's end: takes items and feeds.
///
/// Threads:  one thread at a time.   Processes: process-bound.
template <class R>
class stream {
public:
  stream(state_ptr<stream_state<R>> state, std::unique_ptr<pool_feeder> feeder, feed_plan plan)
      : state_(std::move(state)), feeder_(std::move(feeder)), plan_(plan) {}
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  ~stream() { static_cast<void>(cancel_job(*state_->core(), *state_)); }

  /// The next item; null: none by `until`, or `at_end`. Throws what the input threw, once, at its end.
  std::unique_ptr<stream_item<R>> next(time_point until, bool& at_end) {
    at_end = false;
    let_go();
    struct {
      stream_state<R>* state;
      std::unique_ptr<stream_item<R>> item;
    } c{state_.get(), nullptr};
    const auto take = [](void* p) {
      auto& in = *static_cast<decltype(c)*>(p);
      if (!in.item && in.state->has_next()) in.item = std::make_unique<stream_item<R>>(in.state->pop());
      return in.item != nullptr;
    };
    if (feed_until(*state_->core(), *state_, *feeder_, plan_, take, &c, until) != fed::all) {
      if constexpr (is_span_result<R>)
        if (c.item) shown_ = std::move(c.item->shown);
      return std::move(c.item);
    }
    at_end = true;
    if (std::exchange(told_problem_, true)) return nullptr;
    // What is left because somebody asked for a stop is not an error of this call.
    const bool all = feeder_->is_exhausted();
    if (feeder_->problem()) std::rethrow_exception(feeder_->problem());
    if (!all)
      if (auto why = why_unfed(*state_->core(), *state_, false)) std::rethrow_exception(std::move(why));
    return nullptr;
  }
  /// What the last span showed is not needed any more.
  void let_go() noexcept { shown_ = {}; }
  /// The next item goes to `who`: false, and `who` stays, if it is there now or the input has ended.
  bool listen(std::unique_ptr<stream_listener<R>>& who, std::uint64_t& number) {
    struct {
      stream_state<R>* state;
      std::unique_ptr<stream_listener<R>>* who;
      std::uint64_t* number;
      bool listens;
    } c{state_.get(), &who, &number, false};
    with_pool_lock(
        *state_->core(),
        [](void* p) {
          auto& in = *static_cast<decltype(c)*>(p);
          in.listens = in.state->listen(*in.who, *in.number);
        },
        &c);
    if (c.listens) attend_pool(*state_->core());
    return c.listens;
  }
  const state_ptr<stream_state<R>>& state() const noexcept { return state_; }

private:
  state_ptr<stream_state<R>> state_;
  std::unique_ptr<pool_feeder> feeder_;
  feed_plan plan_;
  [[no_unique_address]] shown_by<R> shown_;  // of the item that was given last
  bool told_problem_ = false;
};

}  // namespace mp::detail
