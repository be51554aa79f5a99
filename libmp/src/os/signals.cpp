// Signals of children. Must leave the parent's dispositions alone.

#include "os/signals.hpp"

#include <pthread.h>
#include <cstring>

namespace mp::os {

void reset_signals() noexcept {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction now;
    if (::sigaction(signal, nullptr, &now) != 0) continue;  // the C library's own
    if (now.sa_handler == SIG_DFL || (signal == SIGHUP && now.sa_handler == SIG_IGN)) continue;
    ::sigaction(signal, &standard, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

all_signals_blocked::all_signals_blocked() noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before_);
}

all_signals_blocked::~all_signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

const char* signal_name(int signal) noexcept {
  thread_local char text[24];
  const char* name = ::sigabbrev_np(signal);
  if (name) {
    std::strcpy(text, "SIG");
    std::strncat(text, name, sizeof text - 4);
  } else {
    std::strcpy(text, "signal ");
    char digits[4] = {static_cast<char>('0' + signal / 10 % 10), static_cast<char>('0' + signal % 10), '\0', '\0'};
    std::strcat(text, digits);
  }
  return text;
}

}  // namespace mp::os
