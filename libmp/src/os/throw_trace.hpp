#pragma once
/// @file
/// Where an exception came from: the stack at its throw, if it leaves a given call.
///
/// Model:    boost::stacktrace::from_current_exception of later Boosts; different: nothing is hooked, no throw that is
///           caught further inside costs anything.
/// Shape:    before an exception unwinds, the runtime asks each frame whether it catches the type. A frame of ours
///           "catches" a type whose type_info notes the stack and answers no.
/// Threads:  thread-bound.           Processes: any.
/// Source:   Itanium C++ ABI, exception handling, two-phase unwinding; doc/process-model.md.

#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

namespace mp::os {

/// The stack at the throw that left the traced call; empty if none did. For one call.
class throw_trace {
public:
  std::span<void* const> frames() const noexcept { return {frames_.data(), count_}; }
  /// For the type_info only.
  void capture() noexcept;

private:
  static constexpr std::size_t max_frames = 64;
  std::array<void*, max_frames> frames_;  // not cleared: each call of a task has one
  std::size_t count_ = 0;
};

/// Calls `call(context)`. What it throws leaves, and `trace` knows from where. Throws: what the call throws.
void call_traced(throw_trace& trace, void (*call)(void*), void* context);

template <class F>
void traced(throw_trace& trace, F&& f) {
  call_traced(
      trace, [](void* context) { (*static_cast<std::remove_reference_t<F>*>(context))(); }, &f);
}

/// Loads what backtrace() needs, so that a crash handler need not.
void prepare_backtrace() noexcept;

}  // namespace mp::os
