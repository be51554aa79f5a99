// What a child is told at its start. Must leave no child behind when it throws.

#include "process/start_attempt.hpp"

#include "os/control.hpp"
#include "os/pidfd.hpp"
#include "process/mailbox_link.hpp"
#include "process/self.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace mp::detail {

using os::control_kind;
using os::control_status;

std::string quoted(const attempt& a) { return "process " + a.plan.name; }

namespace {
constexpr const char* called_off = "it was called off";
}

void check_wanted(const attempt& a) {
  if (a.is_called_off()) throw_error(errc::cancelled, quoted(a) + " did not start: " + called_off);
}

[[noreturn]] void fail(const attempt& a, child& c, errc code, std::string why) {
  if (a.is_called_off()) code = errc::cancelled, why = called_off;
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
    std::erase_if(environment, [&changed_name = name](const std::string& entry) {
      return entry.size() > changed_name.size() && entry[changed_name.size()] == '=' && entry.starts_with(changed_name);
    });
    if (value) environment.push_back(name + "=" + *value);
  }
  return environment;
}

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
  if (!m.group) m.group = now.group;  // the server leads its own
}

void send_task(attempt& a, child& c, bool all_streams) {
  auto& m = a.message;
  a.fds.clear();
  const packed_mailbox& mailbox = packed_own_address();
  m.mailbox = mailbox.bytes;
  for (const unique_fd& fd : mailbox.fds) a.fds.push_back(fd.get());
  if (a.directory) a.fds.push_back(a.directory.get());
  for (std::size_t i = 0; i < 3; ++i) {
    const bool sent = a.streams.theirs[i] || (all_streams && !(i == 0 && a.options.in.what() == stdio::kind::null));
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

namespace {

void wait_ready(const attempt& a, child& c) {
  os::control_message answer;
  switch (c.next_message(answer, a.until, a.plan.give_up)) {
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

}  // namespace

started_child finish(attempt& a, std::shared_ptr<child> c) {
  wait_ready(a, *c);
  return {std::move(c), std::move(a.streams.ours)};
}

void take_captures(attempt& a, child& c) {
  c.set_captures(a.streams.captures);
  // The child has these now; while we hold them, we would wait for their end for ever.
  for (auto& fd : a.streams.theirs) fd.reset();
  start_captures(a.streams);
}

}  // namespace mp::detail
