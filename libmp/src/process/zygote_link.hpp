#pragma once
/// @file
/// This process's end of its fork server: started on first need, replaced when it is gone or no longer like us.
///
/// Threads:  thread-safe.            Processes: process-bound.
/// Death:    a fork server that was killed takes no child with it; children keep their link until they have ended.
/// Source:   doc/decisions/0001-start-methods.md.

#include "mp/duration.hpp"
#include "os/fork_guard.hpp"
#include "process/surroundings.hpp"

#include <memory>
#include <mutex>

namespace mp::detail {

/// The dynamic linker's variable, and the value by which the fork server knows that it is from us.
inline constexpr const char* bind_now_name = "LD_BIND_NOW";
inline constexpr const char* bind_now_for_zygote = "mp";

class zygote_link {
public:
  zygote_link(pid_t pid, unique_fd pidfd, unique_fd requests, surroundings started_in);
  ~zygote_link();

  /// Has a child forked before it is needed, from the second start on. A start takes it instead of asking: the fork is
  /// then not in its way. Best effort; what goes wrong with it shows at the next start, which asks for itself.
  void fork_ahead() noexcept;
  /// Our end of its control socket, on which `started` waits or comes soon; empty: there is none.
  unique_fd take_ahead() noexcept;

  /// Asks for a child whose control socket is `control`. 0 or errno; ETIMEDOUT: the server does not take requests.
  int request(int control, time_point until, int give_up = -1) noexcept;
  bool is_gone() const noexcept;
  /// Readable once the server has ended.
  int pidfd() const noexcept { return pidfd_.get(); }
  pid_t pid() const noexcept { return pid_; }
  const surroundings& started_in() const noexcept { return started_in_; }
  void abandon() noexcept;

private:
  const pid_t pid_;
  os::guarded_fd pidfd_, requests_;
  const surroundings started_in_;
  std::mutex ahead_mutex_;  // guards the following
  os::guarded_fd ahead_;
  bool started_before_ = false;
};

/// The present fork server; started if there is none. Waits for its hello (and so for the preload function) until
/// `until`, or until `give_up` is readable. Throws error{start_failed}, error{version_mismatch},
/// error{out_of_resources}, error{cancelled}.
std::shared_ptr<zygote_link> current_zygote(time_point until, int give_up = -1);
/// The present fork server, if there is one; one that another thread is just starting is not there yet.
std::shared_ptr<zygote_link> existing_zygote();
/// Lets go of `which`, if it is the present one: the next start makes another.
void drop_zygote(const std::shared_ptr<zygote_link>& which) noexcept;
/// In a forked child: forgets the parent's.
void abandon_zygote() noexcept;

}  // namespace mp::detail
