#pragma once
/// @file
/// What a future and whoever answers it share: an answer that comes once, and who wants to hear of it.
/// Not for users, but for the types that give futures: pools, requests.
///
/// Model:    the shared state of std::promise; different: it can be cancelled, waiting is a virtual function, so that the
///           thread that waits may do the work (a pool's collects results itself), and hooks run when the answer is there.
/// Shape:    claim (one wins), set, publish. Counted by its owners; no allocation but the state itself.
/// Threads:  thread-safe.            Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/waitable.hpp"
#include "mp/duration.hpp"
#include "mp/error.hpp"
#include "mp/failure.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace mp {

/// What a task says of itself by this_task::progress.
struct progress_report {
  std::uint64_t done = 0, total = 0;
  std::string text{};
};

namespace detail {

class future_base;

/// Runs once when an answer is there, on the thread that brought it: it must be short and must not wait or throw.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class ready_hook {
public:
  virtual ~ready_hook() = default;
  ready_hook(const ready_hook&) = delete;
  ready_hook& operator=(const ready_hook&) = delete;
  virtual void ready(future_base& state) noexcept = 0;

protected:
  ready_hook() = default;

private:
  friend future_base;
  ready_hook* next_ = nullptr;
};

/// The part of a shared state that does not know the answer's type.
///
/// Threads:  thread-safe.   Processes: process-bound.
class future_base : public pollable {
public:
  void add_ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void drop_ref() noexcept {
    if (drop_ref_last()) delete this;
  }
  /// The same, but whoever hears that it was the last one destroys the state.
  [[nodiscard]] bool drop_ref_last() noexcept { return refs_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  bool is_ready() const noexcept {
    return (word_.load(std::memory_order_acquire) & ready_bit) != 0;  // pairs with publish
  }

  /// Is the answer there by `until` (min: just looks, max: without limit)? The default sleeps.
  ///
  /// Waits:    until then. Not for the I/O thread.
  virtual bool wait_until(time_point until) noexcept;
  /// Throws: error{wrong_process} in a copy of the process made by fork, if it is not ready: there nobody will answer.
  void check_process(const char* what) const;
  /// Asks that the work be stopped. False: it is done already, or cannot be stopped.
  virtual bool cancel() { return false; }
  virtual task_id id() const noexcept { return 0; }
  virtual std::optional<progress_report> progress() const { return std::nullopt; }
  /// The future was dropped: nobody is going to take the answer.
  virtual void abandon() noexcept {}

  /// Runs `hook` when the answer is there; at once, here, if it is. Throws what the work must be told for.
  void on_ready(std::unique_ptr<ready_hook> hook);

  // For mp::wait, which borrows it.
  bool look() noexcept final { return is_ready() || wait_until(time_point::min()); }
  void enter(int eventfd) final;
  void leave(int eventfd) noexcept final;

  /// Who answers begins with this; true for exactly one caller, who must then set the answer and publish.
  bool claim() noexcept { return (word_.fetch_or(claimed_bit, std::memory_order_acq_rel) & claimed_bit) == 0; }
  bool is_claimed() const noexcept { return (word_.load(std::memory_order_acquire) & claimed_bit) != 0; }
  /// The answer was set: from now on it is ready. Wakes those who wait, then runs the hooks.
  void publish() noexcept;

protected:
  future_base() noexcept;
  virtual ~future_base();
  /// Somebody wants to hear of the answer without waiting for it.
  virtual void attend() {}

private:
  static constexpr std::uint32_t ready_bit = 1, waiter_bit = 2, claimed_bit = 4, process_shift = 3;

  std::atomic<std::uint32_t> refs_{1};
  std::atomic<std::uint32_t> word_;          // until it is ready: beside the bits the process that it was made in
  std::atomic<ready_hook*> hooks_{nullptr};  // newest first; the mark `closed` once they have run
};

/// Owns one reference to a state.
///
/// Threads:  as std::shared_ptr.   Processes: process-bound.
template <class S>
class state_ptr {
public:
  state_ptr() noexcept = default;
  /// Takes over the reference that a new state is born with.
  static state_ptr adopt(S* state) noexcept {
    state_ptr p;
    p.state_ = state;
    return p;
  }
  /// One more reference.
  static state_ptr share(S* state) noexcept {
    if (state) state->add_ref();
    return adopt(state);
  }
  template <class T>
  requires(std::is_base_of_v<S, T> && !std::is_same_v<S, T>) state_ptr(state_ptr<T> other)
  noexcept : state_(other.release()) {}
  state_ptr(const state_ptr& other) noexcept : state_(other.state_) {
    if (state_) state_->add_ref();
  }
  state_ptr(state_ptr&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  state_ptr& operator=(state_ptr other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~state_ptr() {
    if (state_) state_->drop_ref();
  }

  S* get() const noexcept { return state_; }
  S* operator->() const noexcept { return state_; }
  S& operator*() const noexcept { return *state_; }
  explicit operator bool() const noexcept { return state_ != nullptr; }
  /// Gives the reference away.
  S* release() noexcept { return std::exchange(state_, nullptr); }

private:
  S* state_ = nullptr;
};

template <class S, class... A>
state_ptr<S> make_state(A&&... arguments) {
  return state_ptr<S>::adopt(new S(std::forward<A>(arguments)...));
}

/// What stands for a value of type R where void cannot.
template <class R>
using unit_for_void = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// A shared state whose answer is an R or an exception.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class R>
class future_state : public future_base {
public:
  using value_type = unit_for_void<R>;

  /// An R whose destructor throws ends the process here, as everywhere in containers.
  ~future_state() noexcept override {}

  /// False: it had an answer before.
  bool set_value(value_type value) {
    if (!claim()) return false;
    try {
      value_.emplace(std::move(value));
    } catch (...) {
      error_ = std::current_exception();
    }
    publish();
    return true;
  }
  bool set_error(std::exception_ptr problem) noexcept {
    if (!claim()) return false;
    error_ = std::move(problem);
    publish();
    return true;
  }

  /// The answer, once; it must be ready. Throws what the work threw.
  virtual value_type take() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    value_type value = std::move(*value_);
    value_.reset();
    return value;
  }

protected:
  // Written by whoever claimed, before publish; read by whoever saw it ready.
  std::optional<value_type> value_;
  std::exception_ptr error_;
};

/// The answer never came: whoever should have given it is gone.
std::exception_ptr broken_promise() noexcept;

/// The side that answers. Letting go of it without an answer is one, too: error{closed}.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class R, class State = future_state<R>>
class promise {
public:
  promise() : promise(make_state<State>()) {}
  /// With a state of its own kind (one that can be cancelled, for example).
  explicit promise(state_ptr<State> state) noexcept : state_(std::move(state)) {}
  promise(promise&&) noexcept = default;
  promise& operator=(promise&& other) noexcept {
    promise old(std::move(*this));
    state_ = std::move(other.state_);
    return *this;
  }
  ~promise() {
    if (state_) state_->set_error(broken_promise());
  }

  /// Each: false if there was an answer before. Throws: nothing that comes from here.
  bool set_value(unit_for_void<R> value = {}) { return state_->set_value(std::move(value)); }
  bool set_error(std::exception_ptr problem) noexcept { return state_->set_error(std::move(problem)); }
  const state_ptr<State>& state() const noexcept { return state_; }

private:
  state_ptr<State> state_;
};

}  // namespace detail
}  // namespace mp
