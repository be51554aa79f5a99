// ptrace. Must never let the traced child run free behind the point where it is to die.

#include "tracer.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

namespace mp_fault {

struct traced_child::board {
  std::atomic<int> done;
  char complaint[256];
};

traced_child::traced_child(const std::function<void()>& prepare, const std::function<void()>& act) {
  void* page = ::mmap(nullptr, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  board_ = new (page) board{};
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  try {
    prepare();
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    act();
  } catch (const std::exception& e) {
    std::snprintf(board_->complaint, sizeof board_->complaint, "threw %s", e.what());
  }
  board_->done.store(1);
  for (;;) ::pause();
}

traced_child::~traced_child() {
  kill();
  ::munmap(board_, sizeof(board));
}

bool traced_child::wait_prepared() {
  int status = 0;
  while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
  }
  if (WIFSTOPPED(status) && board_->done.load() == 0) {
    ::ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
    return true;
  }
  if (!WIFSTOPPED(status)) pid_ = -1;
  return false;
}

bool traced_child::at_system_call() const {
  const long rip = ::ptrace(PTRACE_PEEKUSER, pid_, offsetof(user_regs_struct, rip), nullptr);
  const long code = ::ptrace(PTRACE_PEEKTEXT, pid_, rip, nullptr);
  return (code & 0xffff) == 0x050f;
}

// False: the child has ended, or cannot be traced any more.
bool traced_child::step(bool by_call) {
  for (int signal = 0;;) {
    if (::ptrace(by_call ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, pid_, nullptr, signal) != 0) return false;
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0)
      if (errno != EINTR) return false;
    if (!WIFSTOPPED(status)) {
      std::snprintf(board_->complaint, sizeof board_->complaint, "ended by itself, status %x", status);
      pid_ = -1;
      return false;
    }
    const int what = WSTOPSIG(status);
    if (what == SIGTRAP || what == (SIGTRAP | 0x80)) return true;
    if (what == SIGSEGV || what == SIGBUS || what == SIGABRT || what == SIGILL) {
      std::snprintf(board_->complaint, sizeof board_->complaint, "signal %d", what);
      return false;
    }
    signal = what;
  }
}

bool traced_child::advance(grain g, std::size_t count, const std::vector<std::span<const std::byte>>& watched) {
  std::vector<std::vector<std::byte>> before;
  for (const auto& w : watched) before.emplace_back(w.begin(), w.end());
  for (std::size_t n = 0; n < count; ++n) {
    for (bool changed = false; !changed;) {
      if (board_->done.load() != 0) return true;
      changed = g != grain::change || at_system_call();
      if (!step(g == grain::call)) return true;
      ++instructions_;
      for (std::size_t i = 0; g == grain::change && i < watched.size(); ++i) {
        if (std::memcmp(before[i].data(), watched[i].data(), watched[i].size()) == 0) continue;
        before[i].assign(watched[i].begin(), watched[i].end());
        changed = true;
      }
    }
  }
  return board_->done.load() != 0;
}

void traced_child::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  // A traced child tells of its stops, too: wait for its end.
  for (;;) {
    const pid_t got = ::waitpid(pid_, &status, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || !WIFSTOPPED(status)) break;
  }
  pid_ = -1;
}

const char* traced_child::complaint() const { return board_->complaint; }

void use_one_processor() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_ZERO(&allowed);
    CPU_SET(cpu, &allowed);
    ::sched_setaffinity(0, sizeof allowed, &allowed);
    return;
  }
}

void bind_now(char** argv) {
  if (std::getenv("LD_BIND_NOW")) return;
  ::setenv("LD_BIND_NOW", "1", 1);
  ::execv("/proc/self/exe", argv);
}

}  // namespace mp_fault
