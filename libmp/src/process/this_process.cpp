// The calling process and its parent, as users ask for them.

#include "mp/this_process.hpp"

#include "mp/detail/async.hpp"
#include "mp/init.hpp"
#include "os/lifeline.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "process/child_main.hpp"
#include "process/mailbox_link.hpp"
#include "process/process_table.hpp"
#include "process/self.hpp"

#include <unistd.h>
#include <cstdlib>

namespace mp {

struct parent_process_maker {
  static parent_process make(const detail::self& me) { return {me.parent_pid, me.parent_name, me.lifeline.get()}; }
};

// The lifeline says it: its other end is in the parent and nowhere else.
bool parent_process::is_alive() const { return os::lifeline_is_up(sentinel_); }

void parent_process::join() const { static_cast<void>(join_for(duration::forever())); }

bool parent_process::join_for(duration limit) const {
  if (!is_alive()) return true;
  detail::check_may_wait("parent_process::join");
  return os::wait_either(sentinel_, -1, deadline_after(std::chrono::steady_clock::now(), limit)).first;
}

mp::address parent_process::address() const { return detail::address_access::make(detail::parent_address()); }

int cpu_count() { return os::usable_cpus(); }

namespace this_process {

pid_t pid() noexcept { return ::getpid(); }

std::string name() { return detail::this_self().name; }

std::optional<mp::parent_process> parent() {
  const detail::self& me = detail::this_self();
  if (!me.is_child) return std::nullopt;
  return parent_process_maker::make(me);
}

std::vector<process_info> active_children() {
  std::vector<process_info> all;
  for (const auto& c : detail::running_children()) all.push_back({c->who().pid, c->who().name, c->who().daemon});
  return all;
}

void exit(int code) {
  if (detail::this_self().is_child) detail::end_process(code);
  std::exit(code);
}

}  // namespace this_process
}  // namespace mp
