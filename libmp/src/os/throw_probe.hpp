#pragma once
/// @file
/// A type that nobody throws, whose type_info is our own object. Only for throw_trace.
///
/// Threads:  -   Processes: any.

namespace mp::os {

class throw_trace;

// The destructor is the class's key function and is defined nowhere: so the compiler refers to the type_info and
// leaves it to us to define it (throw_probe.cpp).
struct throw_probe {
  virtual ~throw_probe();
};

// The trace of the innermost call_traced of this thread.
extern thread_local throw_trace* current_trace;

}  // namespace mp::os
