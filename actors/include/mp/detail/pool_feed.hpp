#pragma once
/// @file
/// How arguments get into units: of one task, and of the items of a range that is read as it is needed.
/// Not for users: `pool` is their way in.
///
/// Copies:   once, from the caller's objects into the unit's bytes.
/// Threads:  thread-bound (the caller's).   Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/pool_face.hpp"
#include "mp/detail/pool_job.hpp"
#include "mp/detail/std_parts.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <tuple>
#include <type_traits>
#include <utility>

namespace mp::detail {

/// The units of a job: made by its feeding thread, used again with the memory of their bytes when they are over. Fresh
/// memory for large arguments would cost more than to copy them.
///
/// Threads:  see each function.   Processes: process-bound.
class unit_store {
public:
  unit_store() noexcept = default;
  unit_store(const unit_store&) = delete;
  unit_store& operator=(const unit_store&) = delete;
  ~unit_store() {
    for (pool_unit* list : {spare_, used_})
      while (list) delete std::exchange(list, list->next);
  }
  /// A unit to fill, whose first item has this index. Not locked, the feeding thread.
  pool_unit* fresh(pool_core& core, std::uint64_t first) {
    if (!spare_)
      with_pool_lock(
          core,
          [](void* p) {
            auto& self = *static_cast<unit_store*>(p);
            self.spare_ = std::exchange(self.used_, nullptr);
          },
          this);
    if (!spare_) {
      auto* const made = new pool_unit;
      made->first = first;
      return made;
    }
    pool_unit* const u = std::exchange(spare_, spare_->next);
    if (spare_) __builtin_prefetch(spare_);  // the next one
    u->count = u->resolved = 0;
    u->attempt = 0;
    u->first = first;
    if (u->extras) {
      u->extras->ends.clear();
      u->extras->fds.clear();
      u->extras->state_fds = 0;
      u->extras->deaths.clear();
    }
    return u;
  }
  /// The feeding thread: it was not submitted.
  void give_back(pool_unit* u) noexcept {
    u->next = spare_;
    spare_ = u;
  }
  /// Locked. It is over: what travelled with it is closed now, and what others could use goes back, not when it is used
  /// again.
  void recycle(pool_unit* u) noexcept {
    if (u->extras) u->extras->fds.clear();
    u->bytes.drop_shared();
    u->next = used_;
    used_ = u;
  }

private:
  pool_unit* spare_ = nullptr;  // the feeding thread's
  pool_unit* used_ = nullptr;   // locked
};

/// Writes messages into a unit, each behind what is there.
///
/// Threads:  thread-bound.   Processes: process-bound.
class unit_writer {
public:
  unit_writer(pool_core& core, pool_unit& u) noexcept : core_(core), u_(u), out_(rest()) {}

  /// One message; true: descriptors came along. If it throws, the unit ends before it. Throws: what `write` throws,
  /// error{too_large}, std::bad_alloc.
  template <class Write>
  bool add(const Write& write) {
    out_.begin_message();
    write(out_);
    if (out_.overflowed() || !out_.attachments().empty()) [[unlikely]]
      return add_unusual([](encoder& e, const void* w) { (*static_cast<const Write*>(w))(e); }, &write);
    u_.bytes.set_size(begin_ + out_.size());
    return false;
  }

private:
  std::span<std::byte> rest() noexcept { return u_.bytes.room().subspan(begin_ = u_.bytes.size()); }
  // There is no room for it, or it brings descriptors.
  bool add_unusual(void (*write)(encoder&, const void*), const void* context) {
    const std::size_t before = u_.bytes.size(), size = begin_ + out_.size() - before;
    auto fds = std::move(out_.attachments());
    std::size_t end = before + size;
    if (out_.overflowed()) {
      u_.bytes.reserve(std::max(before + size, std::min<std::size_t>(2 * before, UINT32_MAX)), &heap_of(core_));
      encoder second = encoder::second_pass(u_.bytes.room().subspan(before), std::move(fds));
      write(second, context);
      fds = std::move(second.attachments());
      if (second.overflowed()) throw_error(errc::unencodable, "an argument changed while it was encoded");
      end = before + second.size();
    }
    // The size last: what fails before it leaves the unit as it was.
    if (!fds.empty()) {
      auto& all = u_.more().fds;
      all.reserve(all.size() + fds.size());
      for (auto& fd : fds) all.push_back(std::move(fd));
    }
    u_.bytes.set_size(end);
    out_ = encoder(rest());
    return !fds.empty();
  }

  pool_core& core_;
  pool_unit& u_;
  std::size_t begin_ = 0;  // of what out_ has written
  encoder out_;
};

/// How many items a range has, if it tells.
template <class Range>
std::uint64_t size_of(Range& in) {
  if constexpr (std::ranges::sized_range<Range>)
    return static_cast<std::uint64_t>(std::ranges::size(in));
  else
    return UINT64_MAX;
}

/// Writes items of a range into units. `Star`: an item is a tuple of arguments.
///
/// Threads:  thread-bound.   Processes: process-bound.
template <bool Star, class F, class It, class End, class State>
class range_feeder : public pool_feeder {
  using reference = std::iter_reference_t<It>;

  template <class... A>
  struct maker_for {
    using type = unit_maker_for<F, A...>;
  };
  template <class Tuple>
  struct star_maker;
  template <template <class...> class Tuple, class... A>
  struct star_maker<Tuple<A...>> : maker_for<const A&...> {};
  template <bool, class Item>
  struct pick : maker_for<Item> {};
  template <class Item>
  struct pick<true, Item> : star_maker<std::remove_cvref_t<Item>> {};

public:
  using maker = typename pick<Star, reference>::type;

  /// The sentences for what cannot be a task; a null pointer.
  static void check(const F& f) {
    if constexpr (Star)
      check_star(f, static_cast<std::remove_cvref_t<reference>*>(nullptr));
    else
      check_task<const F&, reference>(f);
  }
  range_feeder(State& state, const F& f, It begin, End end, std::uint64_t left)
      : state_(state), f_(f), at_(std::move(begin)), end_(std::move(end)), left_(left) {}

  // Reading the input runs the user's code: what it throws is kept, and ends the input.
  pool_unit* next(std::uint32_t most) override {
    if (over_) return nullptr;
    try {
      if (at_ == end_) return nullptr;
    } catch (...) {
      over_ = true;
      problem_ = std::current_exception();
      return nullptr;
    }
    pool_unit* u = nullptr;
    try {
      u = state_.fresh_unit();
      begin_unit(*state_.core(), state_, *u);
      unit_writer out(*state_.core(), *u);
      if (out.add([&](encoder& e) { maker::write_state(e, f_); })) u->extras->state_fds = u->extras->fds.size();
      u->prefix = static_cast<std::uint32_t>(u->bytes.size());
      fill(*u, out, most);
    } catch (...) {
      // What was read still runs; the input's own error comes when that has ended.
      over_ = true;
      problem_ = std::current_exception();
      if (!u) return nullptr;
      if (u->count == 0) {
        state_.give_back(u);
        return nullptr;
      }
    }
    state_.count_items(u->count);
    read_ += u->count;
    return u;
  }
  std::uint64_t left() const noexcept override { return left_; }
  std::exception_ptr problem() const noexcept override { return problem_; }
  std::uint64_t read() const noexcept override { return read_; }
  bool is_exhausted() override {
    if (!over_) try {
        over_ = at_ == end_;
      } catch (...) {
        over_ = true;
        problem_ = std::current_exception();
      }
    return over_;
  }

private:
  template <template <class...> class Tuple, class... A>
  static void check_star(const F& f, Tuple<A...>*) {
    check_task<const F&, const A&...>(f);
  }
  static constexpr std::size_t most_bytes = 1 << 20;          // a unit of more is no saving
  static constexpr std::uint32_t most_noted_ahead = 1 << 12;  // an input may end sooner than it says

  // Items behind each other. Their ends are noted where there are several: a unit may be cut between what is begun and
  // what is not. Descriptors of several items could not be told apart: who has some is the last of its unit.
  void fill(pool_unit& u, unit_writer& out, std::uint32_t most) {
    struct noted {
      pool_unit& u;
      std::uint32_t* ends = nullptr;
      std::size_t room = 0;
      noted(pool_unit& unit, std::uint32_t items, std::uint64_t left) : u(unit) {
        if (items > 1) grow(std::clamp<std::uint64_t>(left, 2, std::min(items, most_noted_ahead)));
      }
      void grow(std::size_t n) {
        u.more().ends.resize(n);
        ends = u.extras->ends.data();
        room = n;
      }
      ~noted() {
        if (ends) u.extras->ends.resize(u.count > 1 ? u.count : 0);
      }
    } all(u, most, left_);
    for (bool is_last = false; !is_last && u.count != most && !(at_ == end_); ++at_) {
      if (u.count == all.room && all.ends) [[unlikely]]
        all.grow(2 * all.room);  // before there is an item without its end
      if constexpr (Star)
        is_last = std::apply([&](auto&&... a) { return add(out, std::forward<decltype(a)>(a)...); }, *at_);
      else
        is_last = add(out, *at_);
      if (all.ends) all.ends[u.count] = static_cast<std::uint32_t>(u.bytes.size());
      ++u.count;
      if (left_ != UINT64_MAX && left_ != 0) --left_;
      is_last = is_last || u.bytes.size() > most_bytes;
    }
  }
  // True: descriptors came along.
  template <class... A>
  static bool add(unit_writer& out, A&&... a) {
    const auto values = maker::template convert<A&&...>(std::forward<A>(a)...);
    return out.add([&](encoder& e) { maker::write_item(e, values); });
  }

  State& state_;
  const F& f_;
  It at_;
  End end_;
  std::uint64_t left_;  // the largest number: not known
  std::uint64_t read_ = 0;
  bool over_ = false;
  std::exception_ptr problem_;
};

/// How a range is kept beyond the call that it was given to: as by std::views::all. A view is copied, what was moved in is
/// owned, any other range is borrowed: a reference.
template <class Range>
using kept_range =
    std::conditional_t<std::is_lvalue_reference_v<Range> && !std::ranges::view<std::remove_cvref_t<Range>>, Range,
                       std::remove_cvref_t<Range>>;

/// A feeder that keeps its callable and its input, because it outlives the call that made it. `Kept` is a kept_range.
///
/// Threads:  thread-bound.   Processes: process-bound.
template <class F, class Kept>
struct kept_input {
  F f;
  Kept range;
};
template <class F, class Kept, class State>
class owning_feeder final
    : private kept_input<F, Kept>,
      public range_feeder<false, F, std::ranges::iterator_t<Kept>, std::ranges::sentinel_t<Kept>, State> {
  using feeder = range_feeder<false, F, std::ranges::iterator_t<Kept>, std::ranges::sentinel_t<Kept>, State>;

public:
  template <class Range>
  owning_feeder(State& state, const F& callable, Range&& input)
      : kept_input<F, Kept>{callable, std::forward<Range>(input)},
        feeder(state, this->f, std::ranges::begin(this->range), std::ranges::end(this->range), size_of(this->range)) {}
};

}  // namespace mp::detail
