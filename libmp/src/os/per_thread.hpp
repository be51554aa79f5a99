#pragma once
/// @file
/// A value of each thread that may still be asked for when the thread's own destructors have run: static destructors
/// run after those of the main thread.
///
/// Threads:  thread-bound.           Processes: process-bound.

namespace mp::os {

/// The calling thread's T, made at first use. It goes with the thread; asked for later it is made once more, and stays.
template <class T>
T& per_thread() {
  thread_local T* value = nullptr;  // these two have no destructor: they can be read to the very end
  thread_local bool is_gone = false;
  struct reaper {
    reaper() noexcept {}  // not constexpr: so it is known to the thread's end from where it is declared, not before
    ~reaper() {
      delete value;
      value = nullptr;
      is_gone = true;
    }
  };
  if (!value) {
    value = new T;
    if (!is_gone) thread_local const reaper at_end;
  }
  return *value;
}

}  // namespace mp::os
