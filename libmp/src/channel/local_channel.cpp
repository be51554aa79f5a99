// Items in a deque under a mutex; ends by counting roles.
// Must never run an encoder, a decoder or `changed` under the lock: they are foreign code.
// Decision 0006 has the rules of closing that get_ended and put_ended are.

#include "channel/local_channel.hpp"

#include "mp/error.hpp"
#include "os/fork_guard.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <utility>

namespace mp::detail {
namespace {

// One gibibyte: a process that has so much waiting between its own threads should have slowed its producers before.
constexpr std::size_t default_max_bytes = std::size_t{1} << 30;

std::vector<unique_fd> duplicate_all(std::span<const unique_fd> fds) {
  std::vector<unique_fd> out;
  out.reserve(fds.size());
  for (const unique_fd& fd : fds) {
    out.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!out.back()) throw_system_error(errc::invalid_argument, "cannot duplicate a descriptor of the message", errno);
  }
  return out;
}

}  // namespace

local_channel::local_channel(const channel_options& options)
    : self_(parties_.emplace_back()),
      options_([&] {
        channel_options o = options;
        if (o.max_bytes == 0) o.max_bytes = default_max_bytes;
        return o;
      }()),
      made_in_(os::fork_generation()) {}

local_channel::~local_channel() = default;

void local_channel::check_process() const {
  os::check_process(made_in_, options_.kind == channel_kind::queue ? "queue" : "pipe");
}

void local_channel::add_role(role r) {
  check_process();
  const std::lock_guard guard(mutex_);
  ++self_[r];
}

void local_channel::drop_role(role r) noexcept {
  if (made_in_ != os::fork_generation()) return;  // a copy of the memory of another process: not ours to count in
  {
    const std::lock_guard guard(mutex_);
    --self_[r];
    signal_all();
  }
  changed();
}

bool local_channel::get_ended(const party& p) const noexcept {
  std::size_t others = 0;
  for (const party& other : parties_) {
    others += other[role::sender];
    if (&other != &p) others += other[role::whole];
  }
  if (others != 0) return false;
  // Threads may share a whole queue: as long as no other process ever had it, it does not end by itself.
  if (!ever_shared_ && p[role::whole] != 0) return false;
  return !(options_.on_consumer_death == on_death::redeliver && held_elsewhere_ != 0);
}

bool local_channel::put_ended(const party& p, role as) const noexcept {
  std::size_t others = 0;
  for (const party& other : parties_) {
    others += other[role::receiver];
    if (&other != &p || as == role::sender) others += other[role::whole] + other[role::whole_get];
  }
  return others == 0 && (ever_shared_ || as == role::sender);
}

bool local_channel::has_room(std::size_t bytes) const noexcept {
  if (options_.maxsize != 0 && items_.size() >= options_.maxsize) return false;
  // A message above the bound is taken when nothing else is there.
  return items_.empty() || (bytes <= options_.max_bytes && bytes_ <= options_.max_bytes - bytes);
}

local_channel::stored local_channel::make_stored(const outgoing& out) {
  stored item;
  item.size = out.size;
  item.bytes = std::make_unique_for_overwrite<std::byte[]>(out.size);
  if (out.write)
    out.write(out.context, {item.bytes.get(), out.size});
  else if (out.size != 0)
    std::memcpy(item.bytes.get(), out.bytes.data(), out.size);
  item.fds = duplicate_all(out.fds);
  return item;
}

void local_channel::push(stored&& item, bool in_front) {
  if (item.id == 0) item.id = next_id_++;
  bytes_ += item.size;
  if (in_front)
    items_.push_front(std::move(item));
  else
    items_.push_back(std::move(item));
  signal(side::get);
}

local_channel::stored local_channel::pop() {
  stored item = std::move(items_.front());
  items_.pop_front();
  bytes_ -= item.size;
  signal(side::put);
  return item;
}

local_channel::outcome local_channel::try_put(const party& p, role as, stored& item) {
  if (shut_down_) return outcome::closed;
  const bool ended = put_ended(p, as);
  // A whole queue can still be passed on to somebody who gets: it puts while there is room.
  if (ended && as != role::whole) return outcome::closed;
  if (!has_room(item.size)) return ended ? outcome::closed : outcome::wait;
  push(std::move(item));
  if (options_.joinable) ++unfinished_;
  return outcome::done;
}

template <class Ready>
bool local_channel::wait(lock& guard, std::condition_variable& cv, time_point until, Ready&& is_ready) {
  if (until == time_point::max()) {
    cv.wait(guard, is_ready);
    return true;
  }
  return cv.wait_until(guard, until, is_ready);
}

op_status local_channel::put(role as, const outgoing& out, time_point until) {
  check_process();
  {
    // Seen early, so that a full channel costs no encoding; decided again below.
    const std::lock_guard guard(mutex_);
    if (until == time_point::min() && !shut_down_ && !has_room(out.size) && !put_ended(self_, as))
      return op_status::timed_out;
  }
  stored item = make_stored(out);
  op_status status = op_status::ok;
  {
    lock guard(mutex_);
    outcome result = try_put(self_, as, item);
    if (result == outcome::wait && until != time_point::min())
      wait(guard, can_put_, until, [&] { return (result = try_put(self_, as, item)) != outcome::wait; });
    if (result != outcome::done) status = result == outcome::closed ? op_status::closed : op_status::timed_out;
  }
  if (status == op_status::ok) changed();
  return status;
}

op_status local_channel::get(role, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) {
  check_process();
  taken = 0;
  while (taken < most) {
    stored item;
    {
      lock guard(mutex_);
      const auto something = [&] { return !items_.empty() || shut_down_ || get_ended(self_); };
      if (!something() && (taken != 0 || until == time_point::min() || !wait(guard, can_get_, until, something)))
        return taken != 0 ? op_status::ok : op_status::timed_out;
      if (items_.empty()) return taken != 0 ? op_status::ok : op_status::closed;
      item = pop();
    }
    ++taken;
    changed();
    fn(context, incoming{item.view(), std::move(item.fds), item.id});
  }
  return op_status::ok;
}

void local_channel::shutdown() {
  check_process();
  {
    const std::lock_guard guard(mutex_);
    shut_down_ = true;
    signal_all();
  }
  changed();
}

void local_channel::take_lost(deliver_lost fn, void* context) {
  check_process();
  for (;;) {
    std::list<lost> one;
    {
      const std::lock_guard guard(mutex_);
      if (lost_.empty()) return;
      one.splice(one.begin(), lost_, lost_.begin());
    }
    lost& l = one.front();
    fn(context, lost_message{{l.item.view(), std::move(l.item.fds), l.item.id}, l.consumer, std::move(l.name)});
  }
}

std::size_t local_channel::size() const {
  check_process();
  const std::lock_guard guard(mutex_);
  return items_.size();
}

bool local_channel::full() const {
  check_process();
  const std::lock_guard guard(mutex_);
  return !has_room(1);
}

bool local_channel::done_once() noexcept {
  if (unfinished_ == 0) return false;
  if (--unfinished_ == 0) all_done_.notify_all();
  return true;
}

bool local_channel::task_done() {
  check_process();
  bool counted = false;
  {
    const std::lock_guard guard(mutex_);
    counted = done_once();
  }
  if (counted) changed();
  return counted;
}

op_status local_channel::join(time_point until) {
  check_process();
  lock guard(mutex_);
  const auto all_done = [&] { return unfinished_ == 0; };
  if (all_done()) return op_status::ok;
  if (until == time_point::min() || !wait(guard, all_done_, until, all_done)) return op_status::timed_out;
  return op_status::ok;
}

bool local_channel::ready(role as, side which) {
  check_process();
  const std::lock_guard guard(mutex_);
  if (which == side::get) return !items_.empty() || shut_down_ || get_ended(self_);
  return shut_down_ || has_room(1) || put_ended(self_, as);
}

bool local_channel::nobody_gets(role as) const {
  check_process();
  const std::lock_guard guard(mutex_);
  return shut_down_ || put_ended(self_, as);
}

bool local_channel::prepare_poll(role as, side which) {
  const int event = poll_fd(which);
  {
    // First the old wake-up is taken away, then the mark is set, then we look: what comes in between raises it again.
    const std::lock_guard guard(mutex_);
    std::uint64_t old = 0;
    [[maybe_unused]] const auto n = ::read(event, &old, sizeof old);
    pollers_[static_cast<std::size_t>(which)].armed = true;
  }
  return ready(as, which);
}

int local_channel::poll_fd(side which) {
  check_process();
  const std::lock_guard guard(mutex_);
  unique_fd& event = pollers_[static_cast<std::size_t>(which)].event;
  if (!event) {
    event.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) throw_system_error(errc::out_of_resources, "cannot make a descriptor to poll", errno);
  }
  return event.get();
}

void local_channel::signal(side which) {
  (which == side::get ? can_get_ : can_put_).notify_all();
  poller& p = pollers_[static_cast<std::size_t>(which)];
  if (!std::exchange(p.armed, false)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(p.event.get(), &one, sizeof one);
}

void local_channel::export_handle(encoder&, role) {
  throw_error(
      errc::invalid_argument,
      "a local channel lives in this process's memory and cannot travel: make it with transport::ring or ::socket");
}

std::shared_ptr<channel> make_local_channel(const channel_options& options) {
  return std::make_shared<local_channel>(options);
}

}  // namespace mp::detail
