#pragma once
/// @file
/// One result of an imap on its way to its consumer, and what of it can be used again.
/// Not for users: `pool` is their way in.
///
/// Threads:  values.                 Processes: process-bound.
/// Source:   doc/decisions/0009-pools.md, doc/decisions/0016-results-in-place.md.

#include "mp/detail/pool_job.hpp"
#include "mp/detail/pool_spans.hpp"
#include "mp/detail/pool_states.hpp"
#include "mp/remote_error.hpp"

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace mp::detail {

/// A result whose memory can hold the next one.
template <class R>
concept reusable =
    !std::is_void_v<R> && !is_span_result<R> && reads_by_itself_or_void<R> && requires(decoder & d, R& value) {
  io<R>::read_again(d, value);
  value.capacity();
};
template <class R>
struct spare_of {
  using type = std::monostate;
};
template <reusable R>
struct spare_of<R> {
  using type = R;
};

/// What a span shows, that is a result.
template <class R>
using shown_by = std::conditional_t<is_span_result<R>, std::unique_ptr<unit_bytes>, std::monostate>;

/// One item's answer.
template <class R>
struct stream_item {
  std::uint64_t index = 0;
  std::optional<unit_for_void<R>> value{};
  std::unique_ptr<encoded> kept{};  // its bytes, where reading them runs the user's code
  std::exception_ptr problem{};
  [[no_unique_address]] shown_by<R> shown{};
  bool is_there = false;

  unit_for_void<R> take() {
    if (problem) std::rethrow_exception(open_exception(std::move(problem)));
    if constexpr (!std::is_void_v<R> && !is_span_result<R>)
      if (kept) return read_result<R>(kept->bytes, std::move(kept->fds));
    return std::move(*value);
  }
};

}  // namespace mp::detail
