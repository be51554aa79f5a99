// A child's life. Must never return into the code that called mp::init, fork or the fork server, and must never run a
// user's byte before the parent said who it is.

#include "process/child_main.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/call.hpp"
#include "mp/detail/channel.hpp"
#include "mp/detail/process_end.hpp"
#include "mp/error.hpp"
#include "mp/this_process.hpp"
#include "os/control.hpp"
#include "os/crash.hpp"
#include "os/lifeline.hpp"
#include "os/signals.hpp"
#include "os/spawn.hpp"
#include "os/stdio_numbers.hpp"
#include "os/throw_trace.hpp"
#include "process/at_exit.hpp"
#include "process/child_setup.hpp"
#include "process/lifelines.hpp"
#include "process/messages.hpp"
#include "process/process_table.hpp"
#include "process/self.hpp"
#include "process/start_message.hpp"
#include "process/stop.hpp"
#include "process/symbols.hpp"
#include "process/zygote_link.hpp"

#include <cxxabi.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

namespace mp::detail {
namespace {

using os::control_kind;
using os::control_status;

// Exit codes of a child that never came to its function; its parent reports them as start_failed.
constexpr int exit_abandoned = 70;  // the parent let go before the task came
constexpr int exit_set_up = 71;     // the set-up failed; the sentence went to the parent
constexpr int exit_unhandled = 1;   // an exception left the function, as in Python

[[noreturn]] void refuse(const std::string& why) {
  os::send_control_now(this_self().control.get(), control_kind::refused, why.data(), why.size());
  ::_exit(exit_set_up);
}

os::control_message receive_message() {
  os::control_message message;
  // Blocking: the lifeline ends this wait if the parent dies; if it only lets go, the socket ends it.
  if (os::receive_control(this_self().control.get(), message, true) != control_status::ok) ::_exit(exit_abandoned);
  return message;
}

os::control_message receive_task() {
  os::control_message message = receive_message();
  while (message.kind == control_kind::wake) message = receive_message();
  if (message.kind != control_kind::task) ::_exit(exit_abandoned);
  return message;
}

void await_go() {
  const os::control_message message = receive_message();
  go_message go;
  if (message.kind != control_kind::go || message.body().size() != sizeof go) ::_exit(exit_abandoned);
  std::memcpy(&go, message.body().data(), sizeof go);
  if (go.changes_umask) ::umask(go.umask);
}

void report_failure(mp::failure failure) noexcept {
  try {
    std::string line = "mp: " + this_self().name + " (pid " + std::to_string(::getpid()) + ") ended by " +
                       (failure.type_name.empty() ? "an exception" : failure.type_name);
    if (!failure.what.empty()) line += ": " + failure.what;
    for (const auto& cause : failure.nested) line += "; caused by " + cause.type_name + ": " + cause.what;
    for (char& c : line)
      if (c == '\n') c = ' ';
    line += '\n';
    std::cout.flush();
    std::fflush(nullptr);
    static_cast<void>(!::write(STDERR_FILENO, line.data(), line.size()));
    const auto bytes = encode_failure(failure);
    os::send_control(this_self().control.get(), control_kind::failure, bytes, {},
                     std::chrono::steady_clock::now() + std::chrono::seconds(1));
  } catch (...) {
    // No memory: the exit code still tells that it failed.
  }
}

int run_function(std::span<const std::byte> bytes, std::vector<unique_fd> fds) {
  os::throw_trace trace;
  try {
    const auto call = parse_call(bytes, std::move(fds));
    std::stop_token stop;
    if (call->wants_stop_token) stop = this_process::stop_token();
    os::traced(trace, [&] { run_call(*call, std::move(stop)); });
    return 0;
  } catch (const abi::__forced_unwind&) {
    // pthread_exit, or a cancellation: no exception, nothing can be asked of it, and who holds it up is aborted. The
    // stack below is not ours to unwind, it may be the parent's: so the process ends here, as after a return.
    end_process(0);
  } catch (...) {
    mp::failure failure = describe_exception(std::current_exception());
    failure.backtrace = name_addresses(trace.frames());
    report_failure(std::move(failure));
    return exit_unhandled;
  }
}

[[noreturn]] void live() {
  self& me = this_self();
  os::control_message task = receive_task();
  std::optional<os::control_message> large_call;
  decoded_start start;
  try {
    start = decode_start(task.body());
  } catch (const error& e) {
    refuse(std::string("its start message is garbled: ") + e.what());
  }
  start_message& m = start.message;
  if (m.call_follows) large_call = receive_task();
  me.name = m.name;
  me.daemon = m.daemon;
  me.is_child = true;
  me.parent_pid = m.parent_pid;
  me.parent_name = std::move(m.parent_name);
  me.method.store(m.method, std::memory_order_relaxed);
  me.children_named.store(0, std::memory_order_relaxed);
  if (const std::string problem = set_up_child(m, task.fds); !problem.empty()) refuse(problem);
  if (m.go_follows) await_go();
  os::direct_crashes_to(me.control.get());
  // exit() in a child ends here, after the handlers that its own function added: static objects are the parent's copies
  // (or the fork server's), and their destructors may wait for threads that are not in this process.
  ::on_exit([](int code, void*) { end_process(code); }, nullptr);
  os::send_control_now(me.control.get(), control_kind::ready, nullptr, 0);

  const int code = run_function(large_call ? large_call->body() : start.call, std::move(task.fds));
  end_process(code);
}

void arm(int lifeline) {
  this_self().lifeline = os::guarded_fd(unique_fd(lifeline));
  if (os::arm_lifeline(lifeline) != 0) refuse("its lifeline cannot be armed");
}

}  // namespace

void enter_zygote_child(int control, int lifeline) {
  ::prctl(PR_SET_NAME, "mp-waiting");  // until it is told its name
  this_self().generation = os::fork_generation();
  this_self().control = os::guarded_fd(unique_fd(control));
  arm(lifeline);
  live();
}

void enter_forked_child(int control, int lifeline) {
  // What the parent had: its children, its fork server, its threads, its own parent.
  abandon_process_table();
  abandon_zygote();
  abandon_lifeline();
  abandon_exit_hooks();
  reset_stop_state();
  reset_io_thread_in_child();
  self& me = this_self();
  me.generation = os::fork_generation();
  me.control = os::guarded_fd(unique_fd(control));
  // Over an exec of the child's own it must stay armed, and there is no fork server to hold it.
  ::fcntl(lifeline, F_SETFD, 0);
  arm(lifeline);
  os::reset_signals();
  if (me.options.crash_handler) os::install_crash_handler();
  live();
}

void enter_spawned_child() {
  self& me = this_self();
  me.control = os::guarded_fd(unique_fd(os::spawned_control_fd));
  const unique_fd inherited(os::spawned_lifeline_fd);
  const int own = os::reopen_lifeline(inherited.get());
  if (own < 0) refuse("its lifeline cannot be opened: is /proc mounted?");
  ::fcntl(own, F_SETFD, 0);  // as above
  arm(own);
  os::reset_signals();
  os::fill_stdio();

  const auto hello = encode_hello();
  os::send_control(me.control.get(), control_kind::hello, hello, {}, time_point::max());
  os::control_message theirs;
  if (os::receive_control(me.control.get(), theirs, true) != control_status::ok || theirs.kind != control_kind::hello)
    ::_exit(exit_abandoned);
  std::string refusal;
  try {
    if (const auto difference = check_hello(theirs.body(), refusal); !difference.empty()) refuse(difference);
  } catch (const error& e) {
    refuse(std::string("its parent's hello is garbled: ") + e.what());
  }
  if (me.options.crash_handler) os::install_crash_handler();
  live();
}

void run_orderly_end() noexcept {
  if (this_self().generation != os::fork_generation()) return;  // a raw fork's exit must not end our children
  run_exit_hooks();
  hold_if_ending_by_signal();
  // Before our children are awaited: one that waits for us at a channel must see that we leave.
  leave_channels();
  end_children();
}

void end_process(int code) {
  run_orderly_end();
  // Streams may be broken or gone: an exception or error here must not change the code.
  try {
    std::cout.flush();
    std::cerr.flush();
    std::clog.flush();
    std::wcout.flush();
    std::wcerr.flush();
    std::wclog.flush();
  } catch (...) {
  }
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace mp::detail
