#pragma once
/// @file
/// How often something that ended may be started again, and how long to wait before.
///
/// Model:    Erlang's intensity and period, with a back-off between restarts.
/// Threads:  values.                 Processes: process-bound.

#include "mp/duration.hpp"

#include <cstddef>

namespace mp {

/// The pause before a try: `first`, then each time `factor` as long, never longer than `most`. Each is longer or shorter
/// by up to its `jitter` part, so that what died together does not come back together.
struct back_off {
  duration first = std::chrono::milliseconds(10), most = std::chrono::seconds(1);
  double factor = 2, jitter = 0.2;
};

/// More than `intensity` restarts within `period` are too many.
struct restart_limits {
  std::ptrdiff_t intensity = 5;
  duration period = std::chrono::seconds(10);
  mp::back_off back_off{};
};

}  // namespace mp
