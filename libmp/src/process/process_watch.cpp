// Watching an address. Must not take a stranger with the same number for the process.

#include "mp/detail/process_watch.hpp"

#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "process/child.hpp"
#include "process/mailbox_state.hpp"
#include "process/process_table.hpp"

#include <unistd.h>
#include <cerrno>
#include <memory>
#include <utility>

namespace mp::detail {
namespace {

class end_operation final : public async_operation {
public:
  end_operation(unique_fd pidfd, std::shared_ptr<child> ours, std::function<void(const mp::exit_status&)> told)
      : pidfd_(std::move(pidfd)), ours_(std::move(ours)), told_(std::move(told)) {}

  bool try_finish() noexcept override {
    mp::exit_status status;
    if (ours_) {
      const auto end = ours_->wait(time_point::min());
      if (!end) return false;
      status = end->status;
    } else if (pidfd_ && !os::has_ended(pidfd_.get())) {
      return false;
    }
    try {
      told_(status);
    } catch (...) {  // it must not throw: no memory
    }
    return true;
  }
  int prepare() noexcept override { return ours_ ? ours_->end_fd() : pidfd_.get(); }
  void abort(const error_code&) noexcept override {}

private:
  const unique_fd pidfd_;
  const std::shared_ptr<child> ours_;
  const std::function<void(const mp::exit_status&)> told_;
};

}  // namespace

void when_ended(const address& of, std::function<void(const mp::exit_status&)> told) {
  const auto& to = address_access::state(of);
  const pid_t pid = to ? to->pid() : 0;
  if (pid == ::getpid()) return;
  std::shared_ptr<child> ours;
  unique_fd pidfd;
  if (pid != 0) {
    for (const auto& c : all_children())
      if (c->who().pid == pid) ours = c;
    if (!ours) {
      pidfd = os::open_pidfd(pid);
      if (!pidfd && errno != ESRCH) throw_system_error(errc::out_of_resources, "cannot watch a process", errno);
      if (os::start_time_of(pid) != to->start_time()) pidfd.reset();
    }
  }
  start_operation(std::make_shared<end_operation>(std::move(pidfd), std::move(ours), std::move(told)));
}

}  // namespace mp::detail
