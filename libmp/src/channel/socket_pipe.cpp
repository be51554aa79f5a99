// Puts and gets of one record; ends, and how they came.
// Must never leave half a message: a record is sent whole or not at all.
// Decision 0006 says what this transport cannot do.

#include "channel/socket_pipe.hpp"

#include "mp/detail/decoder.hpp"
#include "mp/error.hpp"
#include "os/memfd.hpp"
#include "os/per_process.hpp"
#include "os/socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <set>
#include <string>

namespace mp::sock {
namespace {

constexpr std::uint64_t mark_bytes = 2;  // by role: sender, receiver

unique_fd make_event(unsigned value, int flags) {
  unique_fd fd(::eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK | flags));
  if (!fd) detail::throw_system_error(errc::out_of_resources, "pipe: cannot make an eventfd", errno);
  return fd;
}

void raise(int event) noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(event, &one, sizeof one);
}

unique_fd copy_of(const os::guarded_fd& fd) {
  unique_fd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) detail::throw_system_error(errc::out_of_resources, "pipe: cannot duplicate a descriptor", errno);
  return copy;
}

// Made anew in a forked child: what is in the parent's belongs to the parent.
struct pipe_registry {
  std::mutex mutex;
  std::set<pipe_channel*> pipes;
};

}  // namespace

pipe_channel::pipe_channel(const channel_options& options, pipe_fds fds)
    : options_(options),
      marks_(std::move(fds.marks)),
      put_(std::move(fds.put_end)),
      get_(std::move(fds.get_end)),
      credits_(std::move(fds.credits)) {
  pipe_registry& all = os::one_per_process<pipe_registry>();
  const std::lock_guard lock(all.mutex);
  all.pipes.insert(this);
}

pipe_channel::~pipe_channel() {
  // In a forked child the lock may be held for ever by a thread that is not there.
  if (made_in_ != os::fork_generation()) return;
  pipe_registry& all = os::one_per_process<pipe_registry>();
  const std::lock_guard lock(all.mutex);
  all.pipes.erase(this);
}

// Descriptors stay open: a detached thread may be using them.
void pipe_channel::leave_at_exit() noexcept {
  if (made_in_ != os::fork_generation()) return;
  const std::lock_guard lock(roles_mutex_);
  for (const role r : {role::sender, role::receiver}) {
    const auto i = static_cast<std::size_t>(r);
    const os::guarded_fd& end = r == role::sender ? put_ : get_;
    if (roles_[i] == 0 || !end || is_held_elsewhere(r)) continue;
    mark_left(r);
    ::shutdown(end.get(), r == role::sender ? SHUT_WR : SHUT_RD);
  }
}

void leave_pipe_channels() noexcept {
  pipe_registry& all = os::one_per_process<pipe_registry>();
  const std::lock_guard lock(all.mutex);
  for (pipe_channel* pipe : all.pipes) pipe->leave_at_exit();
}

void pipe_channel::add_role(role r) {
  check();
  const std::lock_guard lock(roles_mutex_);
  const auto i = static_cast<std::size_t>(r);
  if (roles_[i]++ == 0) os::lock_shared(marks_.get(), i);
}

void pipe_channel::drop_role(role r) noexcept {
  if (made_in_ != os::fork_generation()) return;
  const std::lock_guard lock(roles_mutex_);
  const auto i = static_cast<std::size_t>(r);
  if (--roles_[i] != 0) return;
  // First the mark, then the end: who sees the end finds the mark. A handle that was given away goes on elsewhere.
  if (!is_held_elsewhere(r)) mark_left(r);
  os::unlock(marks_.get(), i);
  (r == role::sender ? put_ : get_).reset();
}

// Asked of the kernel: whether a handle that was encoded has travelled is not known here (its put may have failed).
bool pipe_channel::is_held_elsewhere(role r) const {
  return os::locked_by_other(marks_.get(), static_cast<std::uint64_t>(r));
}

void pipe_channel::mark_left(role r) noexcept {
  const char yes = 1;
  [[maybe_unused]] const auto n = ::pwrite(marks_.get(), &yes, 1, static_cast<off_t>(r));
}

op_status pipe_channel::how_ended(role other) const {
  char left = 0;
  return ::pread(marks_.get(), &left, 1, static_cast<off_t>(other)) == 1 && left != 0 ? op_status::closed
                                                                                      : op_status::peer_died;
}

bool pipe_channel::take_credit() {
  std::uint64_t one = 0;
  return !credits_ || ::read(credits_.get(), &one, sizeof one) == sizeof one;
}

void pipe_channel::give_credit() noexcept {
  if (credits_) raise(credits_.get());
}

op_status pipe_channel::put(role, const outgoing& out, time_point until) {
  check();
  const std::lock_guard lock(put_mutex_);
  if (until == time_point::min() && !ready(role::sender, side::put)) return op_status::timed_out;  // costs no encoding
  note head;
  head.what = verb::item;
  const parcel message = pack(head, out);
  for (;;) {
    if (!take_credit()) {
      if (is(put_.get(), 0)) return how_ended(role::receiver);
      // In slices: the end of the reader raises the socket, not the credits.
      const auto slice = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
      if (!wait_for(credits_.get(), POLLIN, std::min(until, slice)) && until <= std::chrono::steady_clock::now())
        return op_status::timed_out;
      continue;
    }
    const int err = send(put_.get(), message);
    if (err == 0) return op_status::ok;
    give_credit();
    if (err == EPIPE) return how_ended(role::receiver);
    if (!wait_for(put_.get(), POLLOUT, until)) return op_status::timed_out;
  }
}

op_status pipe_channel::get(role, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) {
  check();
  const std::lock_guard lock(get_mutex_);
  taken = 0;
  while (taken < most) {
    received_packet p;
    switch (receive(get_.get(), p)) {
      case receipt::packet: break;
      case receipt::end: return taken != 0 ? op_status::ok : how_ended(role::sender);
      case receipt::nothing:
        if (taken != 0) return op_status::ok;
        if (!wait_for(get_.get(), POLLIN, until)) return op_status::timed_out;
        continue;
    }
    if (p.head.what != verb::item) detail::throw_error(errc::bad_frame, "pipe: a record that is no item");
    give_credit();
    ++taken;
    fn(context, detail::incoming{p.body, std::move(p.fds), 0});
  }
  return op_status::ok;
}

void pipe_channel::shutdown() {
  check();
  mark_left(role::sender);
  mark_left(role::receiver);
  if (put_) ::shutdown(put_.get(), SHUT_WR);
  if (get_) ::shutdown(get_.get(), SHUT_RD);
}

std::size_t pipe_channel::size() const { return get_ && is(get_.get(), POLLIN) ? 1 : 0; }
bool pipe_channel::full() const {
  return !put_ || !is(put_.get(), POLLOUT) || (credits_ && !is(credits_.get(), POLLIN));
}

bool pipe_channel::ready(role, side which) {
  check();
  if (which == side::get) return !get_ || is(get_.get(), POLLIN);
  if (!put_ || is(put_.get(), 0)) return true;  // its end
  return is(put_.get(), POLLOUT) && (!credits_ || is(credits_.get(), POLLIN));
}

bool pipe_channel::prepare_poll(role as, side which) {
  if (ready(as, which)) return true;
  if (which == side::get) return false;
  // Whichever is missing is watched; the socket's hang-up is always told.
  const bool needs_credit = credits_ && !is(credits_.get(), POLLIN);
  const int ep = poll_fd(side::put);
  epoll_event e{};
  e.events = needs_credit ? 0u : static_cast<std::uint32_t>(EPOLLOUT);
  ::epoll_ctl(ep, EPOLL_CTL_MOD, put_.get(), &e);
  if (credits_) {
    e.events = needs_credit ? static_cast<std::uint32_t>(EPOLLIN) : 0u;
    ::epoll_ctl(ep, EPOLL_CTL_MOD, credits_.get(), &e);
  }
  return false;
}

int pipe_channel::poll_fd(side which) {
  check();
  if (which == side::get) return get_.get();
  const std::lock_guard lock(roles_mutex_);
  if (!put_poll_) {
    unique_fd ep(::epoll_create1(EPOLL_CLOEXEC));
    if (!ep) detail::throw_system_error(errc::out_of_resources, "pipe: cannot make a descriptor to poll", errno);
    epoll_event e{};
    e.events = EPOLLOUT;
    ::epoll_ctl(ep.get(), EPOLL_CTL_ADD, put_.get(), &e);
    e.events = 0;
    if (credits_) ::epoll_ctl(ep.get(), EPOLL_CTL_ADD, credits_.get(), &e);
    put_poll_ = os::guarded_fd(std::move(ep));
  }
  return put_poll_.get();
}

void pipe_channel::export_handle(detail::encoder& e, role r) {
  check();
  e.number(static_cast<std::uint8_t>(transport::socket));
  e.number(static_cast<std::uint8_t>(detail::channel_kind::pipe));
  e.number(static_cast<std::uint8_t>(r));
  e.number(options_.type_hash);
  e.number(static_cast<std::uint64_t>(options_.maxsize));
  if (!e.attaching()) return;
  const std::lock_guard lock(roles_mutex_);
  e.attach(copy_of(r == role::sender ? put_ : get_));
  unique_fd marks = os::reopen(marks_.get());
  os::lock_shared(marks.get(), static_cast<std::uint64_t>(r));
  e.attach(std::move(marks));
  if (credits_) e.attach(copy_of(credits_));
}

std::shared_ptr<detail::channel> make_pipe(const channel_options& options) {
  auto ends = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  pipe_fds fds{std::move(ends.first), std::move(ends.second), os::make_memfd("mp-pipe", mark_bytes), {}};
  // Reserved: a mark can then always be set.
  if (const int err = os::reserve_pages(fds.marks.get(), 0, mark_bytes))
    detail::throw_system_error(errc::out_of_resources, "pipe: no memory for its marks", err);
  if (options.maxsize != 0)
    fds.credits =
        make_event(static_cast<unsigned>(std::min<std::size_t>(options.maxsize, UINT32_MAX - 1)), EFD_SEMAPHORE);
  return std::make_shared<pipe_channel>(options, std::move(fds));
}

detail::imported_handle import_pipe(detail::decoder& d, std::uint64_t expected_type) {
  const auto raw_role = d.number<std::uint8_t>();
  channel_options options;
  options.kind = detail::channel_kind::pipe;
  options.transport = transport::socket;
  options.type_hash = d.number<std::uint64_t>();
  options.maxsize = static_cast<std::size_t>(d.number<std::uint64_t>());
  if (raw_role > 1)
    detail::throw_error(errc::bad_frame, "a pipe's handle arrived with role " + std::to_string(raw_role));
  const role r{raw_role};
  pipe_fds fds;
  (r == role::sender ? fds.put_end : fds.get_end) = d.take_attachment();
  fds.marks = d.take_attachment();
  if (options.maxsize != 0) fds.credits = d.take_attachment();
  if (!keeps_records(r == role::sender ? fds.put_end : fds.get_end))
    detail::throw_error(errc::bad_frame, "a pipe's handle arrived without its socket");
  os::check_memfd(fds.marks.get(), mark_bytes);
  if (expected_type != 0 && expected_type != options.type_hash)
    detail::throw_error(errc::type_mismatch, "the pipe carries another type than the one it is received as");
  auto made = std::make_shared<pipe_channel>(options, std::move(fds));
  made->add_role(r);
  return {std::move(made), r};
}

}  // namespace mp::sock
