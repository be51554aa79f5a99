#pragma once
/// @file
/// How a task runs in a worker: the code that a pool's units name, instantiated for each callable and its parameters.
/// Not for users: `pool` is their way in.
///
/// Shape:    a unit is a run of items for one callable: its state (if it has any), then each item's arguments, back to
///           back. What an item returns is encoded where the parent can see it, before the next item begins.
/// Copies:   arguments are decoded where they arrived, or looked at there (std::span<T>, std::string_view); results are
///           encoded where they leave, but a span of the arguments stays where it lies.
/// Threads:  thread-bound (the worker's).   Processes: the same build on both sides.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/call.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/detail/pool_spans.hpp"
#include "mp/detail/std_parts.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace mp::detail {

/// One unit under way in a worker, as its code sees it.
///
/// Threads:  thread-bound (the worker's).   Processes: process-bound.
class unit_run {
public:
  enum class phase : unsigned char { loading, decoding, running, encoding };  ///< loading: the callable's state

  decoder* in = nullptr;          ///< the rest of the unit
  std::uintptr_t function = 0;    ///< where the callable is a function pointer
  std::stop_token stop{};         ///< of the unit, for callables that take one
  std::shared_ptr<void> state{};  ///< of the callable, once it was read: an exception ends the loop, not the unit
  std::uint32_t count = 0;        ///< items
  std::uint32_t at = 0;           ///< the item under way, or the next one
  bool may_write = false;         ///< into the arguments: nobody will want them again
  phase where = phase::decoding;  ///< what it is about

  /// Claims the next item, which counts as started from here on; false: there is none left.
  bool begin() {
    if (watched) [[unlikely]]
      begin_watched();
    // {round, begun, cut}: see lane_layout.hpp.
    const std::uint64_t before = slot->fetch_add(1u << 16, std::memory_order_acq_rel);
    where = phase::decoding;
    return at + (before & 0xffff) < count;
  }
  void load() noexcept { where = phase::loading; }
  void loaded() noexcept { where = phase::decoding; }
  void run() noexcept { where = phase::running; }
  /// The item is over, without a value.
  void end() {
    if (is_copy.load(std::memory_order_relaxed)) [[unlikely]]
      end_copy();
    where = phase::encoding;
    if (direct) [[unlikely]]
      put_empty();
    publish();
  }
  /// The item is over. Throws: error{unencodable}, error{too_large}, error{closed}: the pool has gone.
  template <class R>
  void end(const R& result) {
    if (is_copy.load(std::memory_order_relaxed)) [[unlikely]]
      end_copy();
    where = phase::encoding;
    if (!direct) [[likely]] {
      encoder e(std::span<std::byte>(draft_at, draft_end));
      encode(e, result);
      if (!e.overflowed() && e.attachments().empty()) [[likely]] {
        draft_at += e.size();
        publish();
        return;
      }
    }
    put(&result, [](encoder& e, const void* p) { encode(e, *static_cast<const R*>(p)); });
  }
  /// The same, of what a span shows: if that is a part of the arguments, it stays there.
  template <class E, std::size_t N>
  void end(const std::span<E, N>& result) {
    const auto bytes = std::as_bytes(std::span<const E>(result));
    if (direct && lies_in_arguments(bytes)) {
      if (is_copy.load(std::memory_order_relaxed)) [[unlikely]]
        end_copy();
      where = phase::encoding;
      put_place(bytes);
    } else {
      end(shown_elements<E>{result});
    }
  }

protected:
  unit_run() = default;
  ~unit_run() = default;
  /// Puts the item's result as a record of its own, after what the draft holds.
  virtual void put(const void* result, void (*write)(encoder&, const void*)) = 0;
  virtual void put_empty() = 0;
  /// Says where the item's result lies.
  virtual void put_place(std::span<const std::byte> result) = 0;
  virtual void begin_watched() = 0;
  /// Now and then, between two items: is it time that the pool hears of the results?
  virtual void look_at_clock() = 0;
  /// The item's result lies outside. One store: a result and the number of results are never seen apart.
  void publish() {
    progress->store(std::uint64_t{++at} << 32 | static_cast<std::uint32_t>(draft_at - draft_begin),
                    std::memory_order_release);  // pairs with the parent's look after a death, and meanwhile
    if (--items_to_look == 0) [[unlikely]]
      look_at_clock();
  }

  bool lies_in_arguments(std::span<const std::byte> what) const noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(large.data()),
               first = reinterpret_cast<std::uintptr_t>(what.data());
    return !what.empty() && first >= begin && first - begin <= large.size() &&
           what.size() <= large.size() - (first - begin);
  }

  /// This process is a copy that a task made by fork, and came back from the task. It must not write where its original
  /// does, nor run the items that follow.
  static std::atomic<bool> is_copy;
  [[noreturn]] static void end_copy() noexcept;

  std::atomic<std::uint64_t>*slot = nullptr, *progress = nullptr;
  std::span<const std::byte> large{};  // the unit where the pool can see it, too; empty: it lies elsewhere
  std::uint32_t items_to_look = 0;
  std::byte *draft_begin = nullptr, *draft_at = nullptr, *draft_end = nullptr;
  bool direct = true;    // no draft: each result is a record
  bool watched = false;  // somebody wants to know when each item begins
};

using unit_code = void (*)(unit_run&);

/// An argument of a task under way.
///
/// Threads:  thread-bound (the worker's).   Processes: process-bound.
template <class P>
class task_argument {
public:
  task_argument(decoder& d, bool) : value_(read_value<stored<P>>(d)) {}
  decltype(auto) get() { return as_parameter<P>(value_); }

private:
  stored<P> value_;
};
/// A view of plain elements: of the message itself, which stays as long as the item, unless they lie there unaligned, or
/// are to be written to and must stay as they are.
template <class P>
requires(is_view<std::remove_cvref_t<P>>&& is_bulk<typename stored<P>::value_type>&&
             std::is_default_constructible_v<typename stored<P>::value_type>) class task_argument<P> {
  using element = typename stored<P>::value_type;
  using view = std::remove_cvref_t<P>;
  static constexpr bool writes = writes_to_span<view>;

public:
  task_argument(decoder& d, bool may_write) : size_(d.count(sizeof(element))) {
    const std::byte* const bytes = d.take(size_ * sizeof(element));
    // To be written to only where that is allowed: `may_write`.
    at_ = reinterpret_cast<element*>(const_cast<std::byte*>(bytes));
    if ((writes && !may_write) || reinterpret_cast<std::uintptr_t>(bytes) % alignof(element) != 0) {
      copy_.resize(size_);
      if (size_ != 0) std::memcpy(copy_.data(), bytes, size_ * sizeof(element));
    }
    if constexpr (requires { view::extent; })
      if (view::extent != std::dynamic_extent && view::extent != size_)
        decoder::throw_invalid("a span of another length");
  }
  view get() { return view(copy_.empty() ? at_ : copy_.data(), size_); }

private:
  std::size_t size_;
  element* at_ = nullptr;
  stored<P> copy_{};
};

template <class F, bool Stop, class... P, std::size_t... I>
void run_items(unit_run& run, std::index_sequence<I...>) {
  // Claimed first: if reading the callable ends the process, that was this item's doing.
  if (!run.begin()) return;
  decltype(auto) callable = [&]() -> decltype(auto) {
    if constexpr (std::is_pointer_v<F>) {
      return reinterpret_cast<F>(run.function);
    } else if constexpr (std::is_class_v<F> && std::is_empty_v<F>) {
      return F{};
    } else {
      if (!run.state) {
        run.load();
        run.state = std::make_shared<F>(read_callable<F>(*run.in));
        run.loaded();
      }
      return (*static_cast<F*>(run.state.get()));
    }
  }();
  do {
    run.in->begin_message();
    // Braces: from left to right.
    std::tuple<task_argument<P>...> arguments{task_argument<P>(*run.in, run.may_write)...};
    run.run();
    const auto invoke = [&]() -> decltype(auto) {
      if constexpr (Stop)
        return std::invoke(callable, run.stop, std::get<I>(arguments).get()...);
      else
        return std::invoke(callable, std::get<I>(arguments).get()...);
    };
    if constexpr (std::is_void_v<decltype(invoke())>) {
      invoke();
      run.end();
    } else {
      const std::decay_t<decltype(invoke())> result = invoke();
      run.end(result);
    }
  } while (run.begin());
}

/// The code that a unit names.
template <class F, bool Stop, class... P>
void unit_thunk(unit_run& run) {
  run_items<F, Stop, P...>(run, std::index_sequence_for<P...>{});
}

/// One callable type; lives for ever.
struct unit_kind {
  call_target code;       ///< its thunk
  std::string_view type;  ///< its name
  bool takes_stop;
  bool writes;  ///< into its arguments, where it may
};
/// What a unit runs, as the parent knows it.
///
/// Threads:  a value.   Processes: process-bound.
struct unit_function {
  const unit_kind* kind = nullptr;
  std::uintptr_t pointer = 0;  ///< the function, where the callable is a pointer
  friend bool operator==(const unit_function&, const unit_function&) noexcept = default;
};

/// One callable with a plan for its arguments.
template <class F, class Plan>
struct unit_maker;
template <class F, bool Stop, class... P>
struct unit_maker<F, call_plan<Stop, P...>> {
  using seen = result_of_plan<F, call_plan<Stop, P...>>;
  using result = typename result_as_it_travels<seen>::type;
  // What it writes comes back if it returns it.
  static constexpr bool may_write = is_span_result<seen>;

  /// Throws: error{invalid_argument}: a null function pointer.
  static unit_function function(const F& f) {
    static const unit_kind kind{locate(reinterpret_cast<std::uintptr_t>(&unit_thunk<F, Stop, P...>)), type_name<F>(),
                                Stop, (writes_to_span<std::remove_cvref_t<P>> || ...)};
    unit_function u{&kind, 0};
    if constexpr (std::is_pointer_v<F>) u.pointer = reinterpret_cast<std::uintptr_t>(f);
    return u;
  }
  /// What stands in front of the items.
  static void write_state([[maybe_unused]] encoder& e, [[maybe_unused]] const F& f) {
    if constexpr (!std::is_pointer_v<F>) write_callable(e, f);
  }
  /// The arguments of one item, converted to the parameters' types.
  template <class... A>
  static auto convert(A&&... args) {
    return std::tuple<argument<P, A>...>{convert_argument<P, A, may_write>(args)...};
  }
  template <class Values>
  static void write_item(encoder& e, const Values& values) {
    std::apply([&e](const auto&... v) { (write_value(e, v), ...); }, values);
  }
  template <class... A>
  static void drop(A&&... args) {
    (drop_handed_over<P>(std::forward<A>(args)), ...);
  }
};

template <class F, class... A>
using unit_maker_for = unit_maker<std::decay_t<F>, typename plan_of<std::decay_t<F>, A...>::type>;

/// Compile-time sentences for what cannot be a task, and the null pointer at run time.
template <class F, class... A>
void check_task(const F& f) {
  check_callable<std::decay_t<F>>();
  using callable = std::decay_t<F>;
  if constexpr (can_travel_as_callable<callable>) {
    check_result<typename unit_maker_for<F, A...>::result>();
    if constexpr (!std::is_function_v<std::remove_reference_t<F>> &&
                  (std::is_pointer_v<callable> || std::is_member_function_pointer_v<callable>))
      if (f == nullptr) throw_error(errc::invalid_argument, "a null function pointer cannot be called");
  }
}

/// Reading a T runs none of the user's functions: it may happen wherever its bytes arrive.
template <class T, class... Seen>
consteval bool reads_by_itself();
template <class... P, class... Seen>
consteval bool all_read_by_themselves(types<P...>, types<Seen...>) {
  return (reads_by_itself<std::remove_cv_t<P>, Seen...>() && ...);
}
template <class T, class... Seen>
consteval bool reads_by_itself() {
  if constexpr (is_one_of<T, Seen...>)
    return true;
  else if constexpr (kind_of<T> == kind::hook || kind_of<T> == kind::cereal || kind_of<T> == kind::handle ||
                     kind_of<T> == kind::descriptor)
    return false;
  else
    return all_read_by_themselves(parts_of<T>{}, types<T, Seen...>{});
}

}  // namespace mp::detail
