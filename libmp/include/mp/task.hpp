#pragma once
/// @file
/// A function and its arguments, ready to run in another process.
///
/// Model:    std::packaged_task without the result; Python's functools.partial that can be pickled.
/// Shape:    functions, captureless lambdas, stateless and aggregate functors, member functions with their object by
///           value; no macro, no registration.
/// Copies:   arguments are encoded when the task is made; copies of a task share the bytes.
/// Threads:  a value.                Processes: process-bound; what it holds is what travels.
/// Source:   doc/decisions/0003-tasks-without-registration.md.

#include "mp/detail/call.hpp"

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace mp {

/// A bound call without its result: what a supervisor starts, what a pool's initializer is.
///
/// Threads:  a value.   Processes: process-bound.
class task {
public:
  /// None.
  task() noexcept = default;

  /// Binds `f` to `args`; they are converted to the parameters' types and encoded here.
  ///
  /// Throws:   error{unencodable}, error{too_large}; error{invalid_argument} for a null function pointer.
  template <class F, class... A>
  requires(!std::same_as<std::remove_cvref_t<F>, task>) task(F&& f, A&&... args)
      : call_(std::make_shared<const detail::bound_call>(
            detail::bind_call(std::forward<F>(f), std::forward<A>(args)...))) {}

  /// Is there anything to run?
  explicit operator bool() const noexcept { return call_ != nullptr; }

  /// For the library: null for none.
  friend const std::shared_ptr<const detail::bound_call>& call_of(const task& t) noexcept { return t.call_; }

private:
  std::shared_ptr<const detail::bound_call> call_;
};

}  // namespace mp
