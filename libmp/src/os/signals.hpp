#pragma once
/// @file
/// Signal dispositions and masks of processes that we start.
///
/// Threads:  the mask is the calling thread's.   Processes: the calling one.
/// Source:   D13 of the design: children begin with default signals.

#include <csignal>

namespace mp::os {

/// Gives every signal its default disposition (an ignored SIGHUP stays ignored, for nohup) and empties the mask.
void reset_signals() noexcept;

/// Blocks every signal for the life of the object.
///
/// Threads:  thread-bound.   Processes: process-bound.
class all_signals_blocked {
public:
  all_signals_blocked() noexcept;
  ~all_signals_blocked();
  all_signals_blocked(const all_signals_blocked&) = delete;
  all_signals_blocked& operator=(const all_signals_blocked&) = delete;

private:
  sigset_t before_;
};

/// "SIGSEGV", or "signal 34".
const char* signal_name(int signal) noexcept;

}  // namespace mp::os
