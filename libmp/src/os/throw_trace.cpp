// Calls with a note of where their exception came from. Must let every exception pass unchanged.

#include "os/throw_trace.hpp"

#include "os/throw_probe.hpp"

#include <execinfo.h>

namespace mp::os {

void throw_trace::capture() noexcept {
  // Once: the second phase of unwinding asks again, with a shorter stack at each clean-up. Nothing can stop an exception
  // whose search has passed our frame, so the first is the one.
  if (count_ != 0) return;
  const int n = ::backtrace(frames_.data(), static_cast<int>(max_frames));
  count_ = n > 0 ? static_cast<std::size_t>(n) : 0;
}

void call_traced(throw_trace& trace, void (*call)(void*), void* context) {
  struct restore {
    throw_trace* before;
    ~restore() { current_trace = before; }
  } guard{current_trace};
  current_trace = &trace;
  try {
    call(context);
  } catch (throw_probe&) {
    // Never entered: its type_info says no.
    throw;
  }
}

void prepare_backtrace() noexcept {
  void* frame;
  ::backtrace(&frame, 1);
}

}  // namespace mp::os
