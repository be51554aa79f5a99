// A child as its parent sees it. Must read everything the child sent before it believes that the child said nothing.

#include "process/child.hpp"

#include "mp/error.hpp"
#include "os/zygote.hpp"
#include "process/messages.hpp"
#include "process/streams.hpp"
#include "process/zygote_link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace mp::detail {

using os::control_kind;
using os::control_status;

child::child(child_identity who, unique_fd pidfd, unique_fd control, std::shared_ptr<zygote_link> zygote)
    : who_(std::move(who)),
      made_in_(os::fork_generation()),
      pidfd_(std::move(pidfd)),
      zygote_(std::move(zygote)),
      control_(std::move(control)) {}

child::~child() = default;

void child::note(os::control_message&& message) {
  switch (message.kind) {
    case control_kind::status:
      if (os::zygote_status report; message.body().size() == sizeof report) {
        std::memcpy(&report, message.body().data(), sizeof report);
        if (report.pid == who_.pid) ended_ = os::ended{os::to_exit_status(report.code, report.status), report.usage};
      }
      break;
    case control_kind::failure: try { failure_ = decode_failure(message.body());
      } catch (const error&) {
        // Not written by us: the child's status has to do.
      }
      break;
    case control_kind::crash: crash_.assign(message.body().begin(), message.body().end()); break;
    default: deliver_to_parent(*this, std::move(message));
  }
}

bool child::drain() {
  while (!ended_ && !control_ended_ && control_) {
    os::control_message message;
    switch (os::receive_control(control_.get(), message, false)) {
      case control_status::ok: note(std::move(message)); break;
      case control_status::nothing: return false;
      case control_status::broken: break;  // one bad record; the socket keeps records apart
      case control_status::ended: control_ended_ = true; break;
    }
  }
  if (ended_) control_.reset();
  return ended_.has_value();
}

bool child::ask_elsewhere() {
  ended_ = os::wait_own(pidfd_.get());
  if (!ended_)
    if (const auto status = os::ask_zombie(who_.pid, pidfd_.get())) ended_ = os::ended{*status};
  if (!ended_)
    if (const auto status = os::ask_kernel(pidfd_.get())) ended_ = os::ended{*status};
  return ended_.has_value();
}

bool child::settle() {
  // The fork server is about to report: it learns of the end when we do. A stopped one says nothing, but then the
  // child is a zombie that can be asked itself.
  const auto soon = std::chrono::steady_clock::now() + report_patience;
  while (zygote_ && !zygote_->is_gone() && std::chrono::steady_clock::now() < soon) {
    int control;
    {
      const std::lock_guard lock(mutex_);
      if (drain()) return true;
      if (control_ended_) break;
      control = control_.get();
    }
    os::wait_either(control, zygote_->pidfd(), soon);
  }
  const auto give_up = std::chrono::steady_clock::now() + status_patience;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (drain() || ask_elsewhere()) return true;
      if (zygote_ && !zygote_->is_gone()) return false;  // it will report, or be gone
      if (os::send_signal(pidfd_.get(), 0) == ESRCH || std::chrono::steady_clock::now() >= give_up) {
        // Reaped by somebody else, or never to be. Asked once more, because it may have been reaped in between.
        if (!ask_elsewhere()) ended_ = os::ended{};
        return true;
      }
    }
    pollfd reaped{pidfd_.get(), 0, 0};  // hung up once it is reaped, where the kernel tells
    ::poll(&reaped, 1, 5);
  }
}

std::optional<os::ended> child::wait(time_point until) {
  for (;;) {
    int control;
    {
      const std::lock_guard lock(mutex_);
      if (drain()) return ended_;
      control = control_ended_ ? -1 : control_.get();
    }
    // Another thread may learn the status now and close the control socket: then the pidfd wakes us all the same.
    const auto ready = os::wait_either(control, pidfd_.get(), until);
    if (ready.second && settle()) {
      const std::lock_guard lock(mutex_);
      return ended_;
    }
    if (!ready.first && std::chrono::steady_clock::now() >= until) return std::nullopt;
  }
}

std::optional<mp::failure> child::failure() {
  const auto ended = wait(time_point::min());
  if (!ended) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (!failure_ && !crash_.empty()) failure_ = describe_crash(crash_, ended->status);
  if (!failure_ && ended->status.is_signaled() && is_crash_signal(*ended->status.signal()))
    failure_ = mp::failure{.what = to_string(ended->status)};
  if (failure_ && failure_->stderr_tail.empty() && err_) failure_->stderr_tail = tail_of(*err_);
  return failure_;
}

int child::signal(int number) noexcept { return os::send_signal(pidfd_.get(), number); }

int child::send(control_kind kind, std::span<const std::byte> body, std::span<const int> fds, time_point until) {
  // Not under the lock: a wait must not be held up by a full socket. The descriptor is duplicated instead.
  unique_fd socket;
  {
    const std::lock_guard lock(mutex_);
    if (!control_) return EPIPE;
    socket = unique_fd(::fcntl(control_.get(), F_DUPFD_CLOEXEC, 3));
    if (!socket) return errno;
  }
  return os::send_control(socket.get(), kind, body, fds, until);
}

control_status child::next_message(os::control_message& message, time_point until) {
  for (;;) {
    const bool is_over = os::has_ended(pidfd_.get());
    int control;
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || control_ended_ || !control_) return control_status::ended;
      const auto got = os::receive_control(control_.get(), message, false);
      if (got == control_status::ended) control_ended_ = true;
      if (got == control_status::ok && (message.kind == control_kind::status || message.kind == control_kind::crash)) {
        note(std::move(message));
        continue;
      }
      if (got != control_status::nothing) return got;
      control = control_.get();
    }
    if (is_over || std::chrono::steady_clock::now() >= until) return control_status::ended;
    os::wait_either(control, pidfd_.get(), until);
  }
}

void child::set_capture(std::shared_ptr<output_capture> err) {
  const std::lock_guard lock(mutex_);
  err_ = std::move(err);
}

std::string child::stderr_tail() {
  const std::lock_guard lock(mutex_);
  return err_ ? tail_of(*err_) : std::string();
}

void child::abandon() noexcept {
  pidfd_.abandon();
  control_.abandon();
}

}  // namespace mp::detail
