// mp::init: what kind of process is this? Must not return in a child, and must cost the first process next to nothing.

#include "mp/init.hpp"

#include "channel/io_thread.hpp"
#include "mp/error.hpp"
#include "os/code.hpp"
#include "os/control.hpp"
#include "os/crash.hpp"
#include "os/lifeline.hpp"
#include "os/modules.hpp"
#include "os/proc.hpp"
#include "os/signals.hpp"
#include "os/spawn.hpp"
#include "os/stdio_numbers.hpp"
#include "os/zygote.hpp"
#include "process/child_main.hpp"
#include "process/messages.hpp"
#include "process/self.hpp"
#include "process/start_message.hpp"
#include "process/zygote_link.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace mp {
namespace {

using detail::self;

[[noreturn]] void refuse(int requests, const std::string& why) {
  const auto hello = detail::encode_hello(why);
  os::send_control(requests, os::control_kind::hello, hello, {}, time_point::max());
  ::_exit(1);
}

void run_preload(const self& me, int requests) {
  if (!me.options.preload) return;
  try {
    me.options.preload();
  } catch (...) {
    const failure why = detail::describe_exception(std::current_exception());
    refuse(requests, "the preload function threw " + why.type_name + (why.what.empty() ? "" : ": " + why.what));
  }
  // What it left in buffers would be written by every child again.
  std::cout.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

// Room for two descriptors per child; children get their parent's limit with the start message.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

[[noreturn]] void become_zygote() {
  const self& me = detail::this_self();
  const int requests = os::spawned_control_fd;
  if (const char* bound = ::getenv(detail::bind_now_name); bound && std::string(bound) == detail::bind_now_for_zygote)
    ::unsetenv(detail::bind_now_name);
  os::reset_signals();
  ::signal(SIGINT, SIG_IGN);
  os::fill_stdio();
  const int lifeline = os::reopen_lifeline(os::spawned_lifeline_fd);
  if (lifeline < 0 || os::arm_lifeline(lifeline) != 0) refuse(requests, "its lifeline cannot be armed");
  // Ours takes the place of what we were given: every child puts its own there.
  ::dup3(lifeline, os::spawned_lifeline_fd, O_CLOEXEC);
  ::close(lifeline);

  os::control_message hello;
  if (os::receive_control(requests, hello, true) != os::control_status::ok) ::_exit(1);
  std::string ignored, difference;
  try {
    difference = detail::check_hello(hello.body(), ignored);
  } catch (const error& e) {
    refuse(requests, std::string("our hello is garbled: ") + e.what());
  }
  // A difference is for the other side to see: it compares as well.
  if (difference.empty()) {
    run_preload(me, requests);
    if (me.options.crash_handler) os::install_crash_handler();
    raise_descriptor_limit();
    ::prctl(PR_SET_NAME, "mp-forkserver");
  }
  const auto answer = detail::encode_hello();
  os::send_control(requests, os::control_kind::hello, answer, {}, time_point::max());
  if (!difference.empty()) ::_exit(1);
  os::note_modules();
  os::serve_zygote(requests, os::spawned_lifeline_fd, detail::enter_zygote_child);
}

}  // namespace

void init(int argc, char** argv, const init_options& options) {
  self& me = detail::this_self();
  if (me.initialised) return;
  me.initialised = true;
  me.generation = os::fork_generation();
  me.options = options;
  me.arguments.assign(argv, argv + argc);
  if (options.on_unhandled) detail::set_on_unhandled(options.on_unhandled);
  os::remember_image();
  // In children of the fork server and of fork this is inherited; it does nothing where it is not the right process.
  std::atexit([] { detail::run_orderly_end(); });

  const auto as = os::recognise_spawned();
  if (!as) return;
  try {
    if (*as == os::spawned_as::zygote) become_zygote();
    detail::enter_spawned_child();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "mp: a child process cannot begin: %s\n", e.what());
  } catch (...) {
    std::fprintf(stderr, "mp: a child process cannot begin\n");
  }
  ::_exit(1);
}

}  // namespace mp
