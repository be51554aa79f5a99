#pragma once
/// @file
/// The types of a pool's calls: results, items, plans; and what goes along with a map on the calling thread.
/// Not for users: `pool` is their way in.
///
/// Threads:  see each class.         Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/detail/pool_face.hpp"
#include "mp/detail/pool_job.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/pool_options.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace mp {
namespace detail {

template <class F>
concept not_task_options = !std::same_as<std::remove_cvref_t<F>, task_options>;

// Of the overloads that take no options: some compilers look at a result before they look at what is required.
template <class F, class... A>
struct task_result {
  using seen = typename result_of_call<F, A...>::type;
  using type = typename result_as_it_travels<seen>::type;
};
template <class F, class... A>
requires(!not_task_options<F>) struct task_result<F, A...> {
  using type = void;
};
template <class F, class... A>
using task_result_t = typename task_result<F, A...>::type;
template <class F, class Range>
using item_result_t = task_result_t<F, std::ranges::range_reference_t<Range>>;
/// As a consumer sees it who takes them one by one: a span stays one.
template <class F, class Range>
using item_seen_t = typename task_result<F, std::ranges::range_reference_t<Range>>::seen;
template <class F, class Tuple>
struct star_result;
template <class F, template <class...> class Tuple, class... A>
struct star_result<F, Tuple<A...>> {
  using type = task_result_t<F, const A&...>;
};
template <class F, class Range>
using star_result_t = typename star_result<F, std::remove_cvref_t<std::ranges::range_reference_t<Range>>>::type;
template <class R>
struct vector_of {
  using type = std::vector<R>;
};
template <>
struct vector_of<void> {
  using type = void;
};
template <class R>
using vector_of_t = typename vector_of<R>::type;

/// A map under way on the calling thread: trips its cancellation, draws its line of progress.
///
/// Threads:  thread-bound.   Processes: process-bound.
class map_watch {
public:
  map_watch(pool_core& core, pool_job& job, const map_options& options, std::uint64_t total);
  map_watch(const map_watch&) = delete;
  map_watch& operator=(const map_watch&) = delete;
  ~map_watch();
  /// Feeds and collects until everything has its answer.
  void run(pool_feeder& feeder, const feed_plan& plan);

private:
  void draw(bool last) noexcept;

  struct stopper;
  pool_core& core_;
  pool_job& job_;
  std::unique_ptr<stopper> stopper_;
  const std::uint64_t total_;
  const bool draws_;
  pool_feeder* feeder_ = nullptr;
  time_point began_{};
};

/// Throws: error{invalid_argument}.
feed_plan plan_for(const map_options& options, std::ptrdiff_t workers, bool lazy);
std::unique_ptr<const task_options> options_for(const map_options& options);

}  // namespace detail

}  // namespace mp
