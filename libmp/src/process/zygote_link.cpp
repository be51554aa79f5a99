// Starting and keeping the fork server. Must never be entered by two threads at once, and must never leave a server
// behind that nobody holds.

#include "process/zygote_link.hpp"

#include "mp/error.hpp"
#include "mp/exit_status.hpp"
#include "os/control.hpp"
#include "os/lifeline.hpp"
#include "os/per_process.hpp"
#include "os/pidfd.hpp"
#include "os/socket.hpp"
#include "os/spawn.hpp"
#include "os/stdio_numbers.hpp"
#include "process/lifelines.hpp"
#include "process/self.hpp"
#include "process/start_message.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <utility>

namespace mp::detail {
namespace {

struct own_zygote {
  std::timed_mutex starting;  // held while a server is started; before `mutex`
  std::mutex mutex;           // guards the following; never held while anybody waits
  std::shared_ptr<zygote_link> current;
};

constexpr std::chrono::milliseconds look_around{20};

own_zygote& held() noexcept { return os::fork_state<own_zygote>::get(); }

constexpr const char* no_hello = "its hello is none: does the program write to descriptor 3 before mp::init?";

[[noreturn]] void fail(os::spawned& server, errc code, const std::string& why) {
  // One that is ending anyway explains itself better than our SIGKILL would.
  const bool by_itself =
      os::wait_ended(server.pidfd.get(), std::chrono::steady_clock::now() + std::chrono::milliseconds(100));
  if (!by_itself) {
    os::send_signal(server.pidfd.get(), SIGKILL);
    os::wait_ended(server.pidfd.get(), time_point::max());
  }
  const auto ended = os::wait_own(server.pidfd.get());
  std::string text = "the fork server did not start: " + why;
  if (by_itself && ended) text += "; it " + to_string(ended->status);
  throw_error(code, text);
}

std::shared_ptr<zygote_link> living_zygote() {
  std::shared_ptr<zygote_link> gone;  // ended outside of the lock
  const std::lock_guard lock(held().mutex);
  auto& current = held().current;
  if (current && current->is_gone()) gone.swap(current);
  return current;
}

std::shared_ptr<zygote_link> start_zygote(time_point until, int give_up) {
  auto [ours, theirs] = os::make_socket_pair();
  ours = os::above_stdio(std::move(ours));
  const unique_fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) throw_system_error(errc::start_failed, "cannot open /dev/null", errno);
  surroundings started_in = read_surroundings(true);

  os::spawn_plan plan;
  plan.as = os::spawned_as::zygote;
  plan.arguments = this_self().arguments;
  plan.environment = started_in.environment;
  // Bound once there, not in every child again; the server takes it out of its environment.
  if (::getenv(bind_now_name) == nullptr)
    plan.environment.push_back(std::string(bind_now_name) + "=" + bind_now_for_zygote);
  plan.control = theirs.get();
  plan.lifeline = lifeline_for_children();
  plan.in = nothing.get();
  // Children find the streams of the moment of their start; the server itself needs them to be open.
  if (::fcntl(STDOUT_FILENO, F_GETFD) < 0) plan.out = nothing.get();
  if (::fcntl(STDERR_FILENO, F_GETFD) < 0) plan.err = nothing.get();
  plan.own_group = true;
  os::spawned server = os::spawn_image(plan);
  theirs.reset();

  const auto hello = encode_hello();
  os::control_message answer;
  int problem = os::send_control(ours.get(), os::control_kind::hello, hello, {}, until);
  if (problem == 0) {
    const auto ready = os::wait_either(ours.get(), server.pidfd.get(), until, give_up);
    if (!ready.first && !ready.second && os::is_readable(give_up)) fail(server, errc::cancelled, "it was called off");
    if (!ready.first && !ready.second) fail(server, errc::start_failed, "it said nothing in time");
    // Only what is there: a server that ended has said it before.
    const auto got = os::receive_control(ours.get(), answer, false);
    if (got == os::control_status::broken) fail(server, errc::start_failed, no_hello);
    if (got != os::control_status::ok)
      fail(server, errc::start_failed,
           "it ended before its hello (in a static constructor, in main before mp::init, or in the preload function)");
  } else {
    fail(server, errc::start_failed, "it cannot be spoken to");
  }
  std::string refusal, difference;
  try {
    difference = check_hello(answer.body(), refusal);
  } catch (const error&) {
    fail(server, errc::start_failed, no_hello);
  }
  if (!difference.empty()) fail(server, errc::version_mismatch, difference);
  if (!refusal.empty()) fail(server, errc::start_failed, refusal);
  return std::make_shared<zygote_link>(server.pid, std::move(server.pidfd), std::move(ours), std::move(started_in));
}

}  // namespace

zygote_link::zygote_link(pid_t pid, unique_fd pidfd, unique_fd requests, surroundings started_in)
    : pid_(pid), pidfd_(std::move(pidfd)), requests_(std::move(requests)), started_in_(std::move(started_in)) {}

zygote_link::~zygote_link() {
  ahead_.reset();  // it ends with its socket
  if (!pidfd_ || !requests_) return;
  // It ends by itself when the socket closes, also where we may not send it signals any more (setuid). A stopped one
  // would not, and its zombie would stay: so it is killed, too, and reaped. Nobody's child depends on it: every child
  // holds its link.
  requests_.reset();
  os::send_signal(pidfd_.get(), SIGKILL);
  if (os::wait_ended(pidfd_.get(), std::chrono::steady_clock::now() + std::chrono::seconds(1)))
    os::wait_own(pidfd_.get());
}

int zygote_link::request(int control, time_point until, int give_up) noexcept {
  const os::control_header empty{};
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(&empty), sizeof empty);
  for (;;) {
    const ssize_t sent = os::send_with_fds(requests_.get(), bytes, {&control, 1}, MSG_DONTWAIT);
    if (sent >= 0) return 0;
    if (sent != -EAGAIN) return static_cast<int>(-sent);
    if (!os::wait_writable(requests_.get(), until, give_up)) return ETIMEDOUT;
  }
}

void zygote_link::fork_ahead() noexcept {
  try {
    const std::lock_guard lock(ahead_mutex_);
    // A program that starts one process needs no second.
    if (ahead_ || !std::exchange(started_before_, true)) return;
    auto [ours, theirs] = os::make_socket_pair();
    ours = os::above_stdio(std::move(ours));
    if (request(theirs.get(), time_point::min()) == 0) ahead_ = os::guarded_fd(std::move(ours));
  } catch (const error&) {  // no descriptor for what nobody needs yet
  }
}

unique_fd zygote_link::take_ahead() noexcept {
  const std::lock_guard lock(ahead_mutex_);
  return ahead_.release();
}

bool zygote_link::is_gone() const noexcept { return os::has_ended(pidfd_.get()); }

void zygote_link::abandon() noexcept {
  pidfd_.abandon();
  requests_.abandon();
  ahead_.abandon();
}

std::shared_ptr<zygote_link> current_zygote(time_point until, int give_up) {
  if (auto here = living_zygote()) return here;
  std::unique_lock starts(held().starting, std::defer_lock);
  // Another thread may be starting one that hangs.
  while (!starts.try_lock_until(std::min(until, std::chrono::steady_clock::now() + look_around))) {
    if (os::is_readable(give_up)) throw_error(errc::cancelled, "the start ended early: it was called off");
    if (std::chrono::steady_clock::now() >= until)
      throw_error(errc::start_failed,
                  "the fork server that another thread starts was not ready in time (does the preload function hang?)");
  }
  if (auto here = living_zygote()) return here;
  auto fresh = start_zygote(until, give_up);
  const std::lock_guard lock(held().mutex);
  held().current = fresh;
  return fresh;
}

std::shared_ptr<zygote_link> existing_zygote() {
  const std::lock_guard lock(held().mutex);
  return held().current;
}

void drop_zygote(const std::shared_ptr<zygote_link>& which) noexcept {
  if (!which) return;
  std::shared_ptr<zygote_link> dropped;  // ended outside of the lock
  const std::lock_guard lock(held().mutex);
  if (held().current == which) dropped.swap(held().current);
}

void abandon_zygote() noexcept {
  auto& current = held().current;
  if (current) current->abandon();
  // The pointer itself is leaked on purpose: its count belongs to the parent's threads, too.
  os::fork_state<own_zygote>::begin_again();
}

}  // namespace mp::detail
