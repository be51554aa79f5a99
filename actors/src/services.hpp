#pragma once
/// @file
/// What of floor 5 runs in this process and must be stopped before it ends: pools and supervisors.
///
/// Shape:    each registers when it is made; `mp::shutdown` and the orderly end of the process stop what is there, pools
///           first, the youngest first.
/// Threads:  thread-safe.            Processes: process-bound; a forked child has none.
/// Source:   doc/decisions/0010-supervisors.md.

#include "mp/duration.hpp"
#include "mp/verdict.hpp"

#include <memory>

namespace mp::detail {

/// Threads:  stop_by may come from any thread, and twice.   Processes: process-bound.
class service {
public:
  virtual ~service() = default;
  /// Ends it: what has not ended by `until` is killed. Adds to `what` who ended, who was killed, what is left; the second
  /// time nothing. Waits: until then, and a moment for the kernel.
  virtual void stop_by(time_point until, verdict& what) noexcept = 0;
};

enum class service_rank { pool, supervisor, node };

/// Not owned: whoever dies is forgotten. The first one adds an at_exit hook that stops what is left at the orderly end.
/// Throws: error{shut_down} after mp::shutdown.
void add_service(service_rank rank, std::weak_ptr<service> one);
/// Stops all that are there. `for_good`: add_service throws from now on.
void stop_services(time_point until, verdict& what, bool for_good) noexcept;

}  // namespace mp::detail
