// Words for how a process ended. Must stay free of system calls: it prints values.

#include "mp/exit_status.hpp"

#include <cstring>
#include <ostream>

namespace mp {

std::string to_string(const exit_status& s) {
  if (const auto code = s.code()) return "exited with code " + std::to_string(*code);
  if (const auto signal = s.signal()) {
    // sigabbrev_np is glibc's: "SEGV" for SIGSEGV; real-time signals have no name.
    const char* name = ::sigabbrev_np(*signal);
    std::string text = "killed by ";
    text += name ? std::string("SIG") + name : "signal " + std::to_string(*signal);
    if (s.core_dumped()) text += " (core dumped)";
    return text;
  }
  return "ended, status unknown";
}

std::ostream& operator<<(std::ostream& out, const exit_status& s) { return out << to_string(s); }

}  // namespace mp
