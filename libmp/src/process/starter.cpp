// The three ways to start a child. Must send no byte of a call before the child's pidfd is here, so that a start that is
// repeated never runs a function twice; and must leave no child behind when it throws.

#include "process/starter.hpp"
#include "process/mailbox_state.hpp"

#include "mp/error.hpp"
#include "os/lifeline.hpp"
#include "os/proc.hpp"
#include "os/signals.hpp"
#include "os/socket.hpp"
#include "os/spawn.hpp"
#include "os/stdio_numbers.hpp"
#include "os/zygote.hpp"
#include "process/child_main.hpp"
#include "process/lifelines.hpp"
#include "process/self.hpp"
#include "process/start_message.hpp"
#include "process/surroundings.hpp"
#include "process/zygote_link.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <mutex>

namespace mp::detail {
namespace {

using os::control_kind;
using os::control_status;

// The server may be killed just when we ask, and so may the next one. More than three in a row is no accident.
constexpr int max_zygotes = 3;

// One start that is under way.
struct attempt {
  const start_plan& plan;
  const process_options& options;
  time_point until;
  child_streams streams;
  start_message message;
  std::vector<int> fds;  // that go with the message: directory, streams; then the call's
  unique_fd directory;
};

std::string quoted(const attempt& a) { return "process " + a.plan.name; }

// Ends a child whose start went wrong, and says why it did.
[[noreturn]] void fail(const attempt& a, child& c, errc code, std::string why) {
  // A child that is ending anyway explains itself better than our SIGKILL would.
  const auto grace = std::min(a.until, std::chrono::steady_clock::now() + std::chrono::milliseconds(100));
  auto ended = c.wait(code == errc::start_failed ? grace : time_point::min());
  const bool by_itself = ended.has_value();
  if (!ended) {
    c.signal(SIGKILL);
    ended = c.wait(std::chrono::steady_clock::now() + std::chrono::seconds(10));
  }
  std::string text = quoted(a) + " did not start: " + std::move(why);
  if (by_itself) text += "; it " + to_string(ended->status);
  if (const std::string tail = c.stderr_tail(); !tail.empty()) text += "; its stderr ends with:\n" + tail;
  throw_error(code, text);
}

void set_options(attempt& a) {
  auto& m = a.message;
  m.name = a.plan.name;
  m.daemon = a.options.daemon || this_self().daemon;
  m.method = get_start_method();
  m.parent_pid = ::getpid();
  m.parent_name = this_self().name;
  m.nice = a.options.nice;
  m.working_directory = a.options.working_directory.string();
  m.ignores_interrupt = a.plan.own_group;
  if (a.plan.own_group) m.group = 0;

  const auto add = [&m](int resource, std::uint64_t value) { m.limits.push_back({resource, value, value}); };
  const auto& l = a.options.rlimits;
  if (l.memory) add(RLIMIT_AS, *l.memory);
  if (l.stack) add(RLIMIT_STACK, *l.stack);
  if (l.core) add(RLIMIT_CORE, *l.core);
  if (l.file_size) add(RLIMIT_FSIZE, *l.file_size);
  if (l.open_files) {
    if (*l.open_files < 0) throw_error(errc::invalid_argument, "limits::open_files is negative");
    add(RLIMIT_NOFILE, static_cast<std::uint64_t>(*l.open_files));
  }
  if (l.cpu_time)
    add(RLIMIT_CPU, static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(l.cpu_time->count()).count()));

  if (!a.options.cpu_affinity.empty()) {
    for (const int cpu : a.options.cpu_affinity) {
      if (cpu < 0 || cpu >= 1 << 16)
        throw_error(errc::invalid_argument, "there is no processor " + std::to_string(cpu));
      const auto byte = static_cast<std::size_t>(cpu) / 8;
      if (byte >= m.affinity.size()) m.affinity.resize((byte / 8 + 1) * 8);
      m.affinity[byte] |= std::byte{1} << (cpu % 8);
    }
  }
}

std::vector<std::string> changed(std::vector<std::string> environment, const process_options& options) {
  for (const auto& [name, value] : options.environment) {
    if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos)
      throw_error(errc::invalid_argument, "\"" + name + "\" cannot be the name of an environment variable");
    std::erase_if(environment, [&name = name](const std::string& entry) {
      return entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name);
    });
    if (value) environment.push_back(name + "=" + *value);
  }
  return environment;
}

// Whatever differs between the fork server's moment and ours is told to the child.
void set_differences(attempt& a, const surroundings& then, surroundings&& now) {
  auto& m = a.message;
  auto environment = changed(std::move(now.environment), a.options);
  if (environment != then.environment) m.environment = std::move(environment);
  if (now.directory != then.directory) {
    a.directory = unique_fd(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!a.directory) throw_system_error(errc::start_failed, "cannot open the working directory", errno);
    m.enters_directory = true;
  }
  std::vector<limit_setting> inherited;
  for (unsigned i = 0; i < RLIM_NLIMITS; ++i)
    if (std::memcmp(&now.limits[i], &then.limits[i], sizeof(rlimit)) != 0)
      inherited.push_back({static_cast<std::int32_t>(i), now.limits[i].rlim_cur, now.limits[i].rlim_max});
  m.limits.insert(m.limits.begin(), inherited.begin(), inherited.end());
  if (m.affinity.empty() && now.affinity != then.affinity) m.affinity = std::move(now.affinity);
  m.nice += now.nice - then.nice;
  if (now.umask && now.umask != then.umask) m.umask = *now.umask;
  if (!m.group) m.group = now.group;  // the server leads its own
}

// Sends the start message and the call; `all_streams`: the child's streams are not ours yet.
void send_task(attempt& a, child& c, bool all_streams) {
  auto& m = a.message;
  a.fds.clear();
  const packed_mailbox& mailbox = packed_own_address();
  m.mailbox = mailbox.bytes;
  for (const unique_fd& fd : mailbox.fds) a.fds.push_back(fd.get());
  if (a.directory) a.fds.push_back(a.directory.get());
  for (std::size_t i = 0; i < 3; ++i) {
    const bool sent = a.streams.theirs[i] || all_streams;
    m.streams[i] = sent;
    if (sent) a.fds.push_back(a.streams.theirs[i] ? a.streams.theirs[i].get() : static_cast<int>(i));
  }
  for (const unique_fd& fd : a.plan.call->fds) a.fds.push_back(fd.get());

  // Above this the call is not copied next to the message, but sent by itself.
  constexpr std::size_t max_joined = 16 * 1024;
  const std::span<const std::byte> call(a.plan.call->bytes);
  m.call_follows = call.size() > max_joined;
  const auto bytes = encode_start(m, m.call_follows ? std::span<const std::byte>() : call);
  int problem = c.send(control_kind::task, bytes, a.fds, a.until);
  if (problem == 0 && m.call_follows) problem = c.send(control_kind::task, call, {}, a.until);
  if (problem == EPIPE || problem == ECONNRESET) fail(a, c, errc::start_failed, "it ended before its task came");
  if (problem == ETIMEDOUT) fail(a, c, errc::start_failed, "it did not take its task in time");
  if (problem != 0)
    fail(a, c, errc::out_of_resources, std::string("its task cannot be sent: ") + std::strerror(problem));
}

void wait_ready(const attempt& a, child& c) {
  os::control_message answer;
  switch (c.next_message(answer, a.until)) {
    case control_status::ok: break;
    case control_status::nothing:
    case control_status::ended:
      if (std::chrono::steady_clock::now() >= a.until && !os::has_ended(c.pidfd()))
        fail(a, c, errc::start_failed, "it was not ready in time");
      fail(a, c, errc::start_failed, "it ended before it was ready");
    case control_status::broken:
      fail(a, c, errc::start_failed, "it answered with something that is no message of ours");
  }
  if (answer.kind == control_kind::refused)
    fail(a, c, errc::start_failed,
         std::string(reinterpret_cast<const char*>(answer.body().data()), answer.body().size()));
  if (answer.kind != control_kind::ready) fail(a, c, errc::start_failed, "it answered out of turn");
}

started_child finish(attempt& a, std::shared_ptr<child> c) {
  wait_ready(a, *c);
  return {std::move(c), std::move(a.streams.ours)};
}

void take_captures(attempt& a, child& c) {
  if (a.streams.captures[2]) c.set_capture(a.streams.captures[2]);
  // The child has these now; while we hold them, we would wait for their end for ever.
  for (auto& fd : a.streams.theirs) fd.reset();
  start_captures(a.streams);
}

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
  auto c = std::make_shared<child>(child_identity{process.pid, a.plan.name, a.message.daemon}, std::move(process.pidfd),
                                   std::move(ours), nullptr);
  take_captures(a, *c);

  os::control_message hello;
  if (const auto got = c->next_message(hello, a.until);
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
    // The parent's stack is never unwound here, so what it holds open is closed by hand: the child gets its own.
    ours.reset();
    a.streams = {};
    for (const unique_fd& fd : a.plan.call->fds) ::close(fd.get());
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
  auto c = std::make_shared<child>(child_identity{pid, a.plan.name, a.message.daemon}, std::move(pidfd),
                                   std::move(ours), nullptr);
  if (!a.options.environment.empty()) a.message.environment = changed(read_environment(), a.options);
  send_task(a, *c, false);
  take_captures(a, *c);
  return finish(a, std::move(c));
}

// What the fork server answers when it is no longer single-threaded.
struct fork_unsafe_server {
  int threads;
};

// Null: the fork server has vanished, or is no longer like us; the next one may do it.
std::shared_ptr<child> ask_zygote(attempt& a, const std::shared_ptr<zygote_link>& server) {
  auto [ours, theirs] = os::make_socket_pair();
  ours = os::above_stdio(std::move(ours));
  if (const int problem = server->request(theirs.get(), a.until)) {
    if (problem == ETIMEDOUT)
      throw_error(errc::start_failed, quoted(a) + " did not start: the fork server (pid " +
                                          std::to_string(server->pid()) + ") takes no requests; is it stopped?");
    if (problem == EPIPE || problem == ECONNRESET || problem == ECONNREFUSED) return nullptr;
    throw_system_error(errc::start_failed, quoted(a) + " did not start: no request to the fork server", problem);
  }
  theirs.reset();

  // While the server forks, we look at what has changed since it was started. The child gets its task only if the
  // answer is: nothing that it could not change itself.
  surroundings now = read_surroundings(true);
  if (now.placement != server->started_in().placement) {
    drop_zygote(server);
    return nullptr;  // the child, if there is one already, finds its socket closed and ends
  }
  set_differences(a, server->started_in(), std::move(now));

  os::control_message answer;
  for (;;) {
    const auto got = os::receive_control(ours.get(), answer, false);
    if (got == control_status::ok) break;
    if (got == control_status::broken)
      throw_error(errc::out_of_resources, quoted(a) +
                                              " did not start: no descriptor is left for its pidfd (raise the "
                                              "limit with ulimit -n, or close what is not needed)");
    if (got == control_status::ended) return nullptr;
    const auto ready = os::wait_either(ours.get(), server->pidfd(), a.until);
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
  return std::make_shared<child>(child_identity{started.pid, a.plan.name, a.message.daemon}, std::move(answer.fds[0]),
                                 std::move(ours), server);
}

started_child start_by_zygote(attempt& a) {
  for (int servers = 0; servers < max_zygotes; ++servers) {
    const auto server = current_zygote(a.until);
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
      return start_by_spawn(a);
    }
    if (!c) {
      if (server->is_gone()) drop_zygote(server);
      continue;
    }
    send_task(a, *c, true);
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
  attempt a{plan, *plan.options, deadline_after(now, plan.options->start_timeout), make_streams(*plan.options), {}, {},
            {}};
  set_options(a);
  switch (plan.options->start_method.value_or(get_start_method())) {
    case start_method::forkserver: return start_by_zygote(a);
    case start_method::spawn: return start_by_spawn(a);
    case start_method::fork: return start_by_fork(a, false);
    case start_method::fork_with_threads: return start_by_fork(a, true);
  }
  throw_error(errc::invalid_argument, "no such start method");
}

}  // namespace mp::detail
