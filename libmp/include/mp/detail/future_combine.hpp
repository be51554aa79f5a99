#pragma once
/// @file
/// The states of several futures as one: when_all, when_any, as_completed.
/// Not for users: <mp/future.hpp> is their way in.
///
/// Shape:    a hook on each future; nobody waits until the caller does.
/// Threads:  free functions.         Processes: -
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/future_hooks.hpp"
#include "mp/detail/std_parts.hpp"

#include <atomic>
#include <cstddef>
#include <iterator>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

namespace mp {
namespace detail {

/// Calls `f(index)` when a state is ready.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class F>
class index_hook final : public ready_hook {
public:
  index_hook(std::size_t index, F f) : index_(index), f_(std::move(f)) {}
  void ready(future_base&) noexcept override { f_(index_); }

private:
  std::size_t index_;
  F f_;
};
template <class F>
std::unique_ptr<ready_hook> make_index_hook(std::size_t index, F f) {
  return std::make_unique<index_hook<F>>(index, std::move(f));
}

/// The answer of when_all: takes all answers once the last one is there.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class Result, class Parts>
class all_state final : public future_state<Result> {
public:
  explicit all_state(Parts parts) : parts_(std::move(parts)) {}

  bool cancel() override {
    bool any = false;
    for_each_part([&](auto& part) { any |= part->cancel(); });
    return any;
  }
  /// Puts itself under way; it is kept by the hooks.
  void watch() {
    for_each_part([&](auto& part) {
      part->on_ready(make_index_hook(0, [self = state_ptr<all_state>::share(this)](std::size_t) { self->one_less(); }));
    });
    one_less();
  }
  void add_expected(std::size_t n) noexcept { left_.fetch_add(n, std::memory_order_relaxed); }

private:
  template <class F>
  void for_each_part(F f) {
    if constexpr (requires { std::tuple_size<Parts>::value; })
      std::apply([&](auto&... p) { (f(p), ...); }, parts_);
    else
      for (auto& p : parts_) f(p);
  }
  void one_less() noexcept {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    std::exception_ptr first;
    // All are taken, so that what they hold is freed; the first error by position counts.
    const auto keep = [&](auto& part) noexcept {
      std::optional<std::decay_t<decltype(part->take())>> value;
      try {
        value.emplace(part->take());
      } catch (...) {
        if (!first) first = std::current_exception();
      }
      return value;
    };
    try {
      if constexpr (requires { std::tuple_size<Parts>::value; }) {
        auto values = std::apply([&](auto&... p) { return std::tuple{keep(p)...}; }, parts_);
        if (!first)
          return static_cast<void>(
              this->set_value(std::apply([](auto&... v) { return Result{std::move(*v)...}; }, values)));
      } else {
        Result values;
        values.reserve(parts_.size());
        for (auto& p : parts_)
          if (auto value = keep(p); value && !first) values.push_back(std::move(*value));
        if (!first) return static_cast<void>(this->set_value(std::move(values)));
      }
    } catch (...) {
      first = std::current_exception();
    }
    this->set_error(first);
  }

  Parts parts_;
  std::atomic<std::size_t> left_{1};  // one for watch itself
};

template <class Result, class Parts>
future<Result> gather(Parts parts, std::size_t count) {
  auto state = make_state<all_state<Result, Parts>>(std::move(parts));
  state->add_expected(count);
  state->watch();
  return future_access::make<Result>(std::move(state));
}

/// The indices of futures in the order in which they end. Known to the library alone: a mutex and a deque that others
/// need not compile.
///
/// Threads:  thread-safe.   Processes: process-bound.
class completion_order;
std::shared_ptr<completion_order> make_completion_order();
void add_ended(completion_order&, std::size_t index) noexcept;
/// Waits:    for the next one.
std::size_t next_ended(completion_order&);

}  // namespace detail

/// What when_any gives: futures[index] is ready, the others go on.
template <class R>
struct when_any_result {
  std::size_t index = 0;
  std::vector<future<R>> futures{};
};

namespace detail {

/// The answer of when_any. The futures are kept until the first is ready.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class R>
class any_state final : public future_state<when_any_result<R>> {
public:
  explicit any_state(std::vector<future<R>> f) : futures_(std::move(f)) {
    for (auto& one : futures_) parts_.push_back(future_access::state(one, "when_any"));
  }
  bool cancel() override {
    if (this->is_claimed()) return false;
    bool any = false;
    for (auto& part : parts_) any |= part->cancel();
    return any;
  }
  void watch() {
    for (std::size_t i = 0; i < parts_.size(); ++i)
      parts_[i]->on_ready(
          make_index_hook(i, [self = state_ptr<any_state>::share(this)](std::size_t index) { self->first(index); }));
  }

private:
  void first(std::size_t index) noexcept {
    if (!this->claim()) return;
    this->value_.emplace(when_any_result<R>{index, std::move(futures_)});
    this->publish();
  }

  std::vector<state_ptr<future_state<R>>> parts_;
  std::vector<future<R>> futures_;
};

}  // namespace detail

/// A single-pass range over futures in the order in which they end; `*it` is one of the caller's, and ready.
///
/// Threads:  thread-bound.   Processes: process-bound.
template <class Future>
class completed_range {
public:
  class iterator {
  public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = Future;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(completed_range& range) noexcept : range_(&range) {}
    /// Waits:    for the next future to end.
    /// Throws:   error{would_deadlock} on the I/O thread.
    Future& operator*() const { return range_->current(); }
    iterator& operator++() {
      static_cast<void>(range_->current());
      range_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return it.at_end(); }

  private:
    bool at_end() const noexcept { return range_->left_ == 0; }

    completed_range* range_ = nullptr;
  };

  explicit completed_range(Future* first, std::size_t count)
      : first_(first), left_(count), order_(detail::make_completion_order()) {
    for (std::size_t i = 0; i < count; ++i)
      detail::future_access::state(first[i], "as_completed")
          ->on_ready(
              detail::make_index_hook(i, [order = order_](std::size_t index) { detail::add_ended(*order, index); }));
  }
  iterator begin() noexcept { return iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

private:
  Future& current() {
    if (!current_) current_ = first_ + detail::next_ended(*order_);
    return *current_;
  }
  void advance() noexcept {
    current_ = nullptr;
    --left_;
  }

  Future* first_;
  std::size_t left_;
  Future* current_ = nullptr;
  std::shared_ptr<detail::completion_order> order_;
};

}  // namespace mp
