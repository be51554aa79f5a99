// Descriptors on their way out. Must never be closed by number in a forked child: there they are closed already, and the
// number may be somebody else's.

#include "mp/detail/waiting_fds.hpp"

#include "os/fork_guard.hpp"

#include <utility>

namespace mp::detail {

waiting_fds::waiting_fds(std::vector<unique_fd> fds) noexcept : fds_(std::move(fds)), made_in_(os::fork_generation()) {
  for (const unique_fd& fd : fds_) os::close_on_fork(fd.get());
}

waiting_fds::waiting_fds(waiting_fds&& other) noexcept
    : fds_(std::exchange(other.fds_, {})), made_in_(other.made_in_) {}

waiting_fds& waiting_fds::operator=(waiting_fds&& other) noexcept {
  if (this != &other) {
    static_cast<void>(release());
    fds_ = std::exchange(other.fds_, {});
    made_in_ = other.made_in_;
  }
  return *this;
}

waiting_fds::~waiting_fds() { static_cast<void>(release()); }

void waiting_fds::check_process(const char* what) const {
  if (!fds_.empty()) os::check_process(made_in_, what);
}

std::vector<unique_fd> waiting_fds::release() noexcept {
  if (!fds_.empty() && made_in_ != os::fork_generation()) {
    for (unique_fd& fd : fds_) static_cast<void>(fd.release());
    fds_.clear();
  }
  for (const unique_fd& fd : fds_) os::forget_on_fork(fd.get());
  return std::exchange(fds_, {});
}

}  // namespace mp::detail
