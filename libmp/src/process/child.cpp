// A child as its parent sees it. Must read everything the child sent before it believes that the child said nothing.

#include "process/child.hpp"

#include "mp/error.hpp"
#include "os/zygote.hpp"
#include "process/messages.hpp"
#include "process/streams.hpp"
#include "process/zygote_link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace mp::detail {

using os::control_kind;
using os::control_status;

namespace {

// How often a child is looked at although its fork server says nothing.
constexpr std::chrono::milliseconds first_slice{20}, longest_slice{1000};

}  // namespace

child::child(child_identity who, unique_fd pidfd, unique_fd control, std::shared_ptr<zygote_link> zygote)
    : who_(std::move(who)),
      made_in_(os::fork_generation()),
      pidfd_(std::move(pidfd)),
      control_(std::move(control)),
      zygote_(std::move(zygote)) {}

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
  while (!ended_ && !control_ended_) {
    os::control_message message;
    switch (os::receive_control(control_.get(), message, false)) {
      case control_status::ok: note(std::move(message)); break;
      case control_status::nothing: return false;
      case control_status::broken: break;  // one bad record; the socket keeps records apart
      case control_status::ended: control_ended_ = true; break;
    }
  }
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
    {
      const std::lock_guard lock(mutex_);
      if (drain()) return true;
      if (control_ended_) break;
    }
    os::wait_either(control_.get(), zygote_->pidfd(), soon);
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
  // The fork server's report is what we wait for: it comes through the control socket, and one wake-up is enough. Only
  // a stopped server says nothing, so the child itself is looked at now and then. Without a server it is the pidfd.
  auto slice = first_slice;
  for (bool server_gone = !zygote_;;) {
    bool silent;  // nothing can come through the socket any more
    {
      const std::lock_guard lock(mutex_);
      if (drain()) return ended_;
      silent = control_ended_;
    }
    const auto now = std::chrono::steady_clock::now();
    if (until <= now) return os::has_ended(pidfd_.get()) && settle() ? locked_end() : std::nullopt;
    if (!server_gone && !silent) {
      const auto ready = os::wait_either(control_.get(), zygote_->pidfd(), std::min(until, now + slice));
      slice = std::min(2 * slice, longest_slice);
      server_gone = ready.second;
      if (!ready.first && !ready.second && os::has_ended(pidfd_.get()) && settle()) return locked_end();
    } else {
      const auto ready = os::wait_either(silent ? -1 : control_.get(), pidfd_.get(), until);
      if (ready.second && settle()) return locked_end();
    }
  }
}

bool child::is_known_to_have_ended() {
  if (!zygote_) return wait(time_point::min()).has_value();
  const std::lock_guard lock(mutex_);
  return drain();
}

int child::end_fd() noexcept {
  const std::lock_guard lock(mutex_);
  return zygote_ && !control_ended_ && !zygote_->is_gone() ? control_.get() : pidfd_.get();
}

std::optional<os::ended> child::locked_end() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

std::optional<mp::failure> child::failure() {
  const auto ended = wait(time_point::min());
  if (!ended) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (!failure_ && !crash_.empty()) failure_ = describe_crash(crash_, ended->status);
  if (!failure_ && ended->status.is_signaled() && is_crash_signal(*ended->status.signal()))
    failure_ = mp::failure{.what = to_string(ended->status)};
  if (failure_ && failure_->stderr_tail.empty() && captures_[2]) failure_->stderr_tail = tail_of(*captures_[2]);
  return failure_;
}

int child::signal(int number) noexcept { return os::send_signal(pidfd_.get(), number); }

int child::send(control_kind kind, std::span<const std::byte> body, std::span<const int> fds, time_point until) {
  return os::send_control(control_.get(), kind, body, fds, until);
}

control_status child::next_message(os::control_message& message, time_point until, int give_up) {
  for (bool is_over = false;;) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || control_ended_) return control_status::ended;
      const auto got = os::receive_control(control_.get(), message, false);
      if (got == control_status::ended) control_ended_ = true;
      if (got == control_status::ok && (message.kind == control_kind::status || message.kind == control_kind::crash)) {
        note(std::move(message));
        continue;
      }
      if (got != control_status::nothing) return got;
    }
    if (is_over || std::chrono::steady_clock::now() >= until) return control_status::ended;
    // One look after its end: what it said last is there by then.
    const auto ready = os::wait_either(control_.get(), pidfd_.get(), until, give_up);
    is_over = ready.second || (!ready.first && os::is_readable(give_up));
  }
}

void child::set_captures(captures all) {
  const std::lock_guard lock(mutex_);
  captures_ = std::move(all);
}

std::string child::stderr_tail() {
  const std::lock_guard lock(mutex_);
  return captures_[2] ? tail_of(*captures_[2]) : std::string();
}

bool child::pass_on_output() {
  captures all;
  {
    const std::lock_guard lock(mutex_);
    all = captures_;
  }
  bool any = false;
  for (const auto& capture : all)
    if (capture) {
      pass_on(*capture);
      any = true;
    }
  return any;
}

void child::abandon() noexcept {
  pidfd_.abandon();
  control_.abandon();
}

}  // namespace mp::detail
