// The end of all processes of ours, with a deadline. Must wait for none without limit, and must leave no zombie.

#include "mp/detail/process_end.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/channel.hpp"
#include "mp/error.hpp"
#include "process/at_exit.hpp"
#include "process/process_table.hpp"
#include "process/self.hpp"
#include "process/zygote_link.hpp"

#include <signal.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <iostream>
#include <memory>

namespace mp::detail {
namespace {

std::atomic<bool> ends_by_signal{false};

// A process that SIGKILL does not end within this sits in the kernel, or in a debugger.
constexpr std::chrono::seconds kernel_patience{2};

using child_list = std::vector<std::shared_ptr<child>>;

// Waits for all; those that ended go from `running` to `gone`.
void await(child_list& running, time_point until, bool killed, std::vector<ended_process>& gone) {
  while (!running.empty()) {
    const auto before = running.size();
    std::erase_if(running, [&](const std::shared_ptr<child>& c) {
      const auto end = c->wait(time_point::min());
      if (!end) return false;
      gone.push_back({c->who().name, c->who().pid, end->status, killed, true});
      remove_child(c.get());
      return true;
    });
    if (running.empty() || (running.size() == before && std::chrono::steady_clock::now() >= until)) return;
    // Short looks at each in turn: whoever ends first is told first.
    const auto slice = std::chrono::milliseconds(running.size() == 1 ? 1000 : 10);
    static_cast<void>(running.front()->wait(std::min(until, std::chrono::steady_clock::now() + slice)));
  }
}

}  // namespace

void refuse_starts() noexcept { this_self().shut_down.store(true, std::memory_order_relaxed); }

std::vector<ended_process> end_processes(time_point until) {
  std::vector<ended_process> gone;
  // Again: a start that was under way when they were refused may have come through.
  for (int round = 0; round < 3; ++round) {
    child_list running = all_children();
    if (running.empty()) break;
    for (const auto& c : running) {
      c->send(os::control_kind::stop_request, {}, {}, time_point::min());
      if (!c->who().takes_stop) c->signal(SIGTERM);
    }
    await(running, until, false, gone);
    for (const auto& c : running) c->signal(SIGKILL);
    await(running, std::chrono::steady_clock::now() + kernel_patience, true, gone);
    for (const auto& c : running) gone.push_back({c->who().name, c->who().pid, {}, true, false});
    if (!running.empty()) break;
  }
  drop_zygote(existing_zygote());
  return gone;
}

void end_io(duration limit) noexcept {
  const auto most = std::min(limit, duration(std::chrono::hours(1)));
  stop_io_thread(std::chrono::duration_cast<std::chrono::milliseconds>(most.count()));
}

void hold_if_ending_by_signal() noexcept {
  while (ends_by_signal.load()) ::pause();
}

void end_by_signal(int signal) noexcept {
  ends_by_signal.store(true);  // before the hooks are taken: main finds one of the two that hold it
  run_exit_hooks();
  leave_channels();
  end_children();
  try {
    std::cout.flush();
    std::clog.flush();
  } catch (...) {
  }
  std::fflush(nullptr);
  ::signal(signal, SIG_DFL);
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::raise(signal);
  ::_exit(128 + signal);  // a signal that does not end by default
}

}  // namespace mp::detail
