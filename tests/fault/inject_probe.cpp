// Uses a queue, a pipe and handles between two processes, for injected system-call errors (FAULTS row 42). Exit code 0: all
// well; 3: an operation ended with a defined error; anything else is a finding.

#include "ring_rig.hpp"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

namespace {

using namespace mp_fault;

int run() {
  const auto queue = make(channel_kind::queue, mp::on_death::report, true);
  queue->add_role(role::whole);
  const auto pipe = make(channel_kind::pipe);
  pipe->add_role(role::sender);
  pipe->add_role(role::receiver);
  travelling to_child = send_off(*queue, role::receiver), back = send_off(*pipe, role::sender);
  pipe->drop_role(role::sender);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      imported_handle in_ = arrive(std::move(to_child)), out = arrive(std::move(back));
      std::vector<seen> got;
      while (get_items(*in_.channel, in_.as, got, in(std::chrono::seconds(3))) == op_status::ok) {
        in_.channel->task_done();
        put_item(*out.channel, out.as, got.back().id, small_item, in(std::chrono::seconds(3)));
      }
      in_.channel->drop_role(in_.as);
      out.channel->drop_role(out.as);
      ::_exit(0);
    } catch (const mp::error&) {
      ::_exit(3);
    }
  }
  to_child.fds.clear();
  back.fds.clear();
  int code = 0;
  u64 answers = 0;
  try {
    constexpr u64 items = 30;
    for (u64 id = 0; id < items; ++id) {
      std::vector<unique_fd> fds;
      if (id % 10 == 3) fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
      if (put_bytes(*queue, role::whole, make_item(id, id % 5 == 0 ? 3000 : 1500), in(std::chrono::seconds(3)), fds) !=
          op_status::ok)
        code = 3;
    }
    std::vector<seen> got;
    while (answers < items && get_items(*pipe, role::receiver, got, in(std::chrono::seconds(3))) == op_status::ok) {
      if (got.back().id != answers || !got.back().whole) code = 5;  // never a wrong answer
      ++answers;
    }
    if (code == 0 && answers < items) code = 3;
    queue->shutdown();
    queue->drop_role(role::whole);
    pipe->drop_role(role::receiver);
  } catch (const mp::error&) {
    if (code == 0) code = 3;
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!WIFEXITED(status)) return 6;
  if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3) return 7;
  return code;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const mp::error&) {
    return 3;
  }
}
