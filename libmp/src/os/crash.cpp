// The crash handler. Must call nothing that allocates or locks, and must leave the exit status exactly as it would have
// been without it.

#include "os/crash.hpp"

#include "os/control.hpp"
#include "os/fork_guard.hpp"
#include "os/modules.hpp"
#include "os/throw_trace.hpp"

#include <execinfo.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>

namespace mp::os {
namespace {

constexpr std::array crash_signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};

alignas(16) std::byte alternate_stack[64 * 1024];  // backtrace() and the record; AVX-512 frames are 3 KiB
std::atomic<int> target{-1};
std::atomic<std::uint64_t> target_of{0};  // the generation that may write to it
std::atomic<bool> writing{false};

std::uintptr_t crashed_at(const void* context) noexcept {
  const auto* c = static_cast<const ucontext_t*>(context);
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(c->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return static_cast<std::uintptr_t>(c->uc_mcontext.pc);
#else
  static_cast<void>(c);
  return 0;
#endif
}

void write_record(int signal, const siginfo_t& info, const void* context) noexcept {
  static crash_record record;  // one crash is written; a second thread's has no room of its own
  record.signal = signal;
  record.code = info.si_code;
  record.address = reinterpret_cast<std::uintptr_t>(info.si_addr);
  static void* stack[64];
  const int n = ::backtrace(stack, 64);
  // The handler's own frames come first: begin where the crash was, if it can be found.
  const std::uintptr_t begin = crashed_at(context);
  int first = 0;
  while (first < n && reinterpret_cast<std::uintptr_t>(stack[first]) != begin) ++first;
  if (first == n) first = 0;
  std::size_t count = 0;
  for (int i = first; i < n && count < record.frames.size(); ++i, ++count) {
    const auto at = reinterpret_cast<std::uintptr_t>(stack[i]);
    const module* m = find_module(at);
    record.frames[count] = m ? crash_record::frame{m->name_hash, at - m->base} : crash_record::frame{0, at};
  }
  record.frame_count = count;
  send_control_now(target.load(std::memory_order_relaxed), control_kind::crash, &record, sizeof record);
}

void on_crash(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // In a copy made by a raw fork the socket is not ours.
  if (target.load(std::memory_order_relaxed) >= 0 && target_of.load(std::memory_order_relaxed) == fork_generation() &&
      !writing.exchange(true))
    write_record(signal, *info, context);
  errno = saved;
  // The disposition is the default again. A fault comes again when the instruction is repeated, with a core dump of
  // the right place; a signal that was sent has to be sent again, and is delivered when we return.
  const bool comes_again =
      info->si_code > 0 && (signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL);
  if (!comes_again) ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), signal);
}

}  // namespace

void install_crash_handler() noexcept {
  prepare_backtrace();
  stack_t stack{};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof alternate_stack;
  ::sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = static_cast<int>(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND);
  ::sigfillset(&action.sa_mask);
  for (const int signal : crash_signals) {
    ::sigdelset(&action.sa_mask, signal);
    ::sigaction(signal, &action, nullptr);
    ::sigaddset(&action.sa_mask, signal);
  }
}

void direct_crashes_to(int control) noexcept {
  target_of.store(fork_generation(), std::memory_order_relaxed);
  target.store(control, std::memory_order_relaxed);
}

}  // namespace mp::os
