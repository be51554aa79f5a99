// wait: poll(2) over descriptors, over what channels raise for who polls, and over one eventfd for all futures.
// Must never take an item, and never sleep longer than one slice while a channel is among the things: the process that
// owed the wake-up may have died.
// FAULTS rule 4.

#include "mp/wait.hpp"

#include "mp/connection.hpp"
#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "mp/unique_fd.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cerrno>
#include <ctime>
#include <string>

namespace mp {
namespace {

constexpr std::chrono::nanoseconds slice = std::chrono::milliseconds(50);
using positions = std::vector<std::size_t>;

void check_descriptors(std::span<const waitable> things) {
  if (things.empty()) detail::throw_error(errc::invalid_argument, "wait: there is nothing to wait for");
  for (std::size_t i = 0; i != things.size(); ++i)
    if (!things[i].channel() && !things[i].answer() && ::fcntl(things[i].fd(), F_GETFD) < 0)
      detail::throw_error(errc::invalid_argument, "wait: position " + std::to_string(i) + ": " +
                                                      std::to_string(things[i].fd()) + " is no open descriptor");
}

// One descriptor for all futures of one wait, where there are any.
class answer_bell {
public:
  explicit answer_bell(std::span<const waitable> things) : things_(things) {}
  answer_bell(const answer_bell&) = delete;
  answer_bell& operator=(const answer_bell&) = delete;
  ~answer_bell() {
    if (!event_) return;
    for (const waitable& w : things_)
      if (w.answer()) w.answer()->leave(event_.get());
  }
  // Before the first sleep.
  void enter() {
    if (event_) return;
    for (const waitable& w : things_) {
      if (!w.answer()) continue;
      if (!event_) event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!event_) detail::throw_system_error(errc::out_of_resources, "wait: no descriptor for futures", errno);
      w.answer()->enter(event_.get());
    }
  }
  void clear() noexcept {
    std::uint64_t count;
    if (event_) static_cast<void>(!::read(event_.get(), &count, sizeof count));
  }
  int fd() const noexcept { return event_ ? event_.get() : -1; }

private:
  const std::span<const waitable> things_;
  unique_fd event_;
};

// One look at everything; with `limit` above 0 a sleep until something may be ready.
positions look(std::span<const waitable> things, answer_bell& bell, std::vector<pollfd>& polled,
               std::chrono::nanoseconds limit) {
  polled.clear();
  positions ready;
  bool any_ready = false;
  std::vector<unsigned char> is_ready(things.size(), 0);
  bell.clear();
  for (std::size_t i = 0; i != things.size(); ++i) {
    const waitable& w = things[i];
    if (w.answer()) {
      is_ready[i] = w.answer()->look();
      polled.push_back({-1, 0, 0});  // a negative number is passed over
    } else if (!w.channel()) {
      polled.push_back({w.fd(), POLLIN, 0});
    } else if (limit == limit.zero() ? w.channel()->ready(w.as(), detail::side::get)
                                     : w.channel()->prepare_poll(w.as(), detail::side::get)) {
      is_ready[i] = 1;
      polled.push_back({-1, 0, 0});
    } else {
      polled.push_back({limit == limit.zero() ? -1 : w.channel()->poll_fd(detail::side::get), POLLIN, 0});
    }
    any_ready = any_ready || is_ready[i];
  }
  polled.push_back({bell.fd(), POLLIN, 0});
  if (any_ready) limit = limit.zero();
  const timespec time{static_cast<time_t>(limit.count() / 1'000'000'000),
                      static_cast<long>(limit.count() % 1'000'000'000)};
  const int n = ::ppoll(polled.data(), polled.size(), &time, nullptr);
  if (n < 0 && errno != EINTR) detail::throw_system_error(errc::out_of_resources, "wait: poll failed", errno);
  for (std::size_t i = 0; i != things.size(); ++i) {
    const waitable& w = things[i];
    if (w.answer()) {
      if (is_ready[i] || (n > 0 && w.answer()->look())) ready.push_back(i);
    } else if (!w.channel()) {
      // An end, an error, a descriptor closed meanwhile: a read would not wait.
      if (n > 0 && polled[i].revents != 0) ready.push_back(i);
    } else if (is_ready[i] || (n > 0 && polled[i].revents != 0 && w.channel()->ready(w.as(), detail::side::get))) {
      ready.push_back(i);
    }
  }
  return ready;
}

positions wait_many(std::span<const waitable> things, time_point until) {
  check_descriptors(things);
  std::vector<pollfd> polled;
  polled.reserve(things.size() + 1);
  answer_bell bell(things);
  positions ready = look(things, bell, polled, std::chrono::nanoseconds(0));
  if (!ready.empty() || until == time_point::min()) return ready;
  for (;;) {
    const auto now = std::chrono::steady_clock::now();
    if (until <= now) return ready;
    detail::check_may_wait("wait");
    bell.enter();
    const std::chrono::nanoseconds left = until == time_point::max() ? slice : std::chrono::nanoseconds(until - now);
    ready = look(things, bell, polled, left < slice ? left : slice);
    if (!ready.empty()) return ready;
  }
}

}  // namespace

waitable::waitable(const connection& c) : channel_(&c.in_.open(connection::noun, "wait")), as_(c.in_.as()) {}

positions wait(std::span<const waitable> things) { return wait_many(things, time_point::max()); }
positions wait_for(duration limit, std::span<const waitable> things) {
  return wait_many(things, deadline_after(std::chrono::steady_clock::now(), limit));
}
positions wait_until(time_point when, std::span<const waitable> things) { return wait_many(things, when); }
positions try_wait(std::span<const waitable> things) { return wait_many(things, time_point::min()); }

}  // namespace mp
