// The three ways to start a child. Must send no byte of a call before the child's pidfd is here, so that a start that is
// repeated never runs a function twice; and must leave no child behind when it throws.

#include "process/starter.hpp"

#include "mp/error.hpp"
#include "os/lifeline.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "os/socket.hpp"
#include "os/spawn.hpp"
#include "os/stdio_numbers.hpp"
#include "os/zygote.hpp"
#include "process/child_main.hpp"
#include "process/lifelines.hpp"
#include "process/self.hpp"
#include "process/start_attempt.hpp"
#include "process/start_message.hpp"
#include "process/zygote_link.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <mutex>

namespace mp::detail {
namespace {

using os::control_kind;
using os::control_status;

// The server may be killed just when we ask, and so may the next one, and a child forked ahead. More in a row is no
// accident.
constexpr int max_zygotes = 4;

started_child start_by_spawn(attempt& a) {
  auto [ours, theirs] = os::make_socket_pair();
  ours = os::above_stdio(std::move(ours));
  theirs = os::above_stdio(std::move(theirs));
  os::spawn_plan plan;
  plan.arguments = this_self().arguments;
  plan.environment = changed(read_environment(), a.options);
  plan.control = theirs.get();
  plan.lifeline = lifeline_for_children();
  plan.in = a.streams.theirs[0].get();
  plan.out = a.streams.theirs[1].get();
  plan.err = a.streams.theirs[2].get();
  os::spawned process = os::spawn_image(plan);
  theirs.reset();
  auto c = std::make_shared<child>(child_identity{process.pid, a.plan.name, a.message.daemon, a.plan.takes_stop},
                                   std::move(process.pidfd), std::move(ours), nullptr);
  take_captures(a, *c);

  os::control_message hello;
  if (const auto got = c->next_message(hello, a.until, a.plan.give_up);
      got != control_status::ok || hello.kind != control_kind::hello) {
    if (got == control_status::ok || got == control_status::broken)
      fail(a, *c, errc::start_failed, "its hello is none: does the program write to descriptor 3 before mp::init?");
    if (!os::has_ended(c->pidfd()))
      fail(a, *c, errc::start_failed,
           "no hello came in time: does it hang in a static constructor or in main before mp::init?");
    fail(a, *c, errc::start_failed, "it ended before its hello (in a static constructor, or in main before mp::init)");
  }
  std::string refusal, difference;
  try {
    difference = check_hello(hello.body(), refusal);
  } catch (const error&) {
    fail(a, *c, errc::start_failed, "its hello is none: does the program write to descriptor 3 before mp::init?");
  }
  if (!difference.empty()) fail(a, *c, errc::version_mismatch, difference);
  // Ours, so that it can compare, too.
  const auto our_hello = encode_hello();
  if (const int problem = c->send(control_kind::hello, our_hello, {}, a.until))
    fail(a, *c, errc::start_failed, std::string("it cannot be spoken to: ") + std::strerror(problem));
  send_task(a, *c, false);
  return finish(a, std::move(c));
}

started_child start_by_fork(attempt& a, bool threads_allowed) {
  if (const int n = os::thread_count(); n != 1 && !threads_allowed)
    throw_error(errc::fork_unsafe, n == 0 ? "fork is refused: /proc is not there to count threads"
                                          : "fork is refused while " + std::to_string(n) +
                                                " threads run: locks that the others hold would stay locked in the "
                                                "child for ever; use forkserver or spawn, or fork_with_threads");
  auto [ours, theirs] = os::make_socket_pair();
  ours = os::above_stdio(std::move(ours));
  theirs = os::above_stdio(std::move(theirs));
  const unique_fd lifeline(std::max(os::reopen_lifeline(lifeline_for_children()), -1));
  if (!lifeline) throw_system_error(errc::start_failed, "cannot open the lifeline", errno);
  // Else the child would write again what is buffered here.
  std::fflush(nullptr);
  std::cout.flush();
  std::clog.flush();
  const pid_t pid = ::fork();
  if (pid == 0) {
    // The parent's stack is never unwound here, so what it holds open is closed by hand. Its streams and what its call
    // holds are closed by the fork guard already: the child gets its own.
    ours.reset();
    enter_forked_child(theirs.release(), lifeline.get());
  }
  if (pid < 0) throw_system_error(errc::start_failed, "cannot fork", errno);
  theirs.reset();
  unique_fd pidfd = os::open_pidfd(pid);
  if (!pidfd) {
    // It waits for a task that never comes, and ends with its socket.
    const int problem = errno;
    ours.reset();
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    throw_system_error(errc::out_of_resources, "no descriptor for a new child", problem);
  }
  auto c = std::make_shared<child>(child_identity{pid, a.plan.name, a.message.daemon, a.plan.takes_stop, true},
                                   std::move(pidfd), std::move(ours), nullptr);
  if (!a.options.environment.empty()) a.message.environment = changed(read_environment(), a.options);
  send_task(a, *c, false);
  take_captures(a, *c);
  return finish(a, std::move(c));
}

// What the fork server answers when it is no longer single-threaded.
struct fork_unsafe_server {
  int threads;
};

// Our end of the control socket of a child that the fork server will fork now. Empty: it has vanished.
unique_fd request_child(attempt& a, zygote_link& server) {
  auto [ours, theirs] = os::make_socket_pair();
  ours = os::above_stdio(std::move(ours));
  const int problem = server.request(theirs.get(), a.until, a.plan.give_up);
  if (problem == 0) return std::move(ours);
  check_wanted(a);
  if (problem == EPIPE || problem == ECONNRESET || problem == ECONNREFUSED) return {};
  if (problem == ETIMEDOUT)
    throw_error(errc::start_failed, quoted(a) + " did not start: the fork server (pid " + std::to_string(server.pid()) +
                                        ") takes no requests; is it stopped?");
  throw_system_error(errc::start_failed, quoted(a) + " did not start: no request to the fork server", problem);
}

// Null: the fork server has vanished, or is no longer like us, or the child that it forked ahead is of no use; ask
// again.
std::shared_ptr<child> ask_zygote(attempt& a, const std::shared_ptr<zygote_link>& server) {
  unique_fd ours = server->take_ahead();
  const bool ahead = static_cast<bool>(ours);
  if (!ahead) ours = request_child(a, *server);
  if (!ours) return nullptr;
  // It wakes up while we look around.
  if (ahead) os::send_control_now(ours.get(), control_kind::wake, nullptr, 0);

  // While the child wakes up or is forked, we look at what has changed since the server was started.
  set_differences(a, server->started_in(), read_surroundings(false));

  os::control_message answer;
  for (;;) {
    const auto got = os::receive_control(ours.get(), answer, false);
    if (got == control_status::ok) break;
    if (got == control_status::broken)
      throw_error(errc::out_of_resources, quoted(a) +
                                              " did not start: no descriptor is left for its pidfd (raise the "
                                              "limit with ulimit -n, or close what is not needed)");
    if (got == control_status::ended) return nullptr;
    const auto ready = os::wait_either(ours.get(), server->pidfd(), a.until, a.plan.give_up);
    if (!ready.first && !ready.second) check_wanted(a);
    if (ready.second && !ready.first) {
      // Gone: what it sent before is here by now.
      if (os::receive_control(ours.get(), answer, false) == control_status::ok) break;
      return nullptr;
    }
    if (!ready.first && std::chrono::steady_clock::now() >= a.until)
      throw_error(errc::start_failed, quoted(a) + " did not start: the fork server (pid " +
                                          std::to_string(server->pid()) + ") did not answer in time; is it stopped?");
  }
  if (answer.kind == control_kind::refused) {
    if (ahead) return nullptr;  // true when it was asked, perhaps not now
    os::zygote_refusal why;
    if (answer.body().size() != sizeof why) throw_error(errc::start_failed, "the fork server's refusal is garbled");
    std::memcpy(&why, answer.body().data(), sizeof why);
    if (why.problem == 0) throw fork_unsafe_server{why.threads};
    throw_system_error(errc::start_failed, quoted(a) + " did not start: the fork server cannot fork", why.problem);
  }
  os::zygote_started started;
  // The child itself may have been faster with a word of its own only if no pidfd came before: then it did not start.
  if (answer.kind != control_kind::started || answer.fds.size() != 1 || answer.body().size() != sizeof started)
    return nullptr;
  std::memcpy(&started, answer.body().data(), sizeof started);
  if (ahead && os::has_ended(answer.fds[0].get())) return nullptr;
  return std::make_shared<child>(child_identity{started.pid, a.plan.name, a.message.daemon, a.plan.takes_stop},
                                 std::move(answer.fds[0]), std::move(ours), server);
}

// While the child sets itself up. It runs only if the answer is: nothing has changed that it could not change itself.
// False: it must not run.
bool let_go(attempt& a, child& c, const zygote_link& server) {
  const surroundings& then = server.started_in();
  surroundings now;
  read_placement_into(now);
  if (now.placement.empty() && !then.placement.empty())
    throw_error(errc::out_of_resources, quoted(a) +
                                            " did not start: /proc/self cannot be read to see whether the fork "
                                            "server still fits (no descriptor left?)");
  if (now.placement != then.placement) return false;
  go_message go;
  if (now.umask && now.umask != then.umask) go = {1, *now.umask};
  const std::span<const std::byte> body(reinterpret_cast<const std::byte*>(&go), sizeof go);
  const int problem = c.send(control_kind::go, body, {}, a.until);
  // One that has ended says why in what it sent before.
  if (problem != 0 && problem != EPIPE && problem != ECONNRESET)
    fail(a, c, errc::start_failed, std::string("it cannot be told to run: ") + std::strerror(problem));
  return true;
}

// A start that fails may have used up the child that was forked ahead: the next one shall find another.
class ahead_again {
public:
  explicit ahead_again(zygote_link& server) noexcept : server_(server) {}
  ahead_again(const ahead_again&) = delete;
  ahead_again& operator=(const ahead_again&) = delete;
  ~ahead_again() {
    if (std::uncaught_exceptions() > before_) server_.fork_ahead();
  }

private:
  zygote_link& server_;
  const int before_ = std::uncaught_exceptions();
};

started_child start_by_zygote(attempt& a) {
  for (int servers = 0; servers < max_zygotes; ++servers) {
    check_wanted(a);
    const auto server = current_zygote(a.until, a.plan.give_up);
    const ahead_again guard(*server);
    a.message = {};
    set_options(a);
    std::shared_ptr<child> c;
    try {
      c = ask_zygote(a, server);
    } catch (const fork_unsafe_server& why) {
      static std::once_flag said;
      std::call_once(said, [&] {
        std::fprintf(stderr,
                     "mp: the fork server has %d threads (started by its preload function or a static?), so "
                     "processes are started by spawn instead\n",
                     why.threads);
      });
      a.message = {};
      set_options(a);
      a.streams = make_streams(a.options, false);
      return start_by_spawn(a);
    }
    if (!c) {
      if (server->is_gone()) drop_zygote(server);
      continue;
    }
    a.message.go_follows = true;
    send_task(a, *c, true);
    if (!let_go(a, *c, *server)) {
      drop_zygote(server);
      continue;  // the child finds its socket closed and ends
    }
    server->fork_ahead();
    take_captures(a, *c);
    return finish(a, std::move(c));
  }
  throw_error(errc::start_failed, quoted(a) + " did not start: " + std::to_string(max_zygotes) +
                                      " fork servers in a row died before they had forked it");
}

}  // namespace

started_child start_child(const start_plan& plan) {
  check_initialised();
  const auto now = std::chrono::steady_clock::now();
  const auto method = plan.options->start_method.value_or(get_start_method());
  const bool by_zygote = method == start_method::forkserver;
  attempt a{plan,
            *plan.options,
            deadline_after(now, plan.options->start_timeout),
            make_streams(*plan.options, by_zygote),
            {},
            {},
            {}};
  switch (method) {
    case start_method::forkserver: return start_by_zygote(a);
    case start_method::spawn: return set_options(a), start_by_spawn(a);
    case start_method::fork: return set_options(a), start_by_fork(a, false);
    case start_method::fork_with_threads: return set_options(a), start_by_fork(a, true);
  }
  throw_error(errc::invalid_argument, "no such start method");
}

}  // namespace mp::detail
