#pragma once
/// @file
/// The crash handler of children: writes where it happened, then lets the signal end the process as it would have.
///
/// Shape:    runs on a stack of its own, calls only what is signal-safe, and sends one record to a descriptor that was
///           opened before. The parent puts names to the addresses.
/// Threads:  threads other than the first have no alternate stack of ours.   Processes: children.
/// Source:   sigaltstack(2); D11 and D13 of the design: the only signal handler that the library installs.

#include <array>
#include <cstddef>
#include <cstdint>

namespace mp::os {

/// Body of control_kind::crash.
struct crash_record {
  std::int32_t signal = 0;
  std::int32_t code = 0;      ///< si_code
  std::uint64_t address = 0;  ///< si_addr, for faults
  std::uint64_t frame_count = 0;
  struct frame {
    std::uint64_t module = 0;  ///< name hash; 0: in no module of the snapshot
    std::uint64_t offset = 0;  ///< from the module's base, or the address itself
  };
  std::array<frame, 48> frames{};
};

/// Installs it for SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS and SIGTRAP. Inherited by forks.
void install_crash_handler() noexcept;
/// From now on records go to this control socket; -1: nowhere.
void direct_crashes_to(int control) noexcept;

}  // namespace mp::os
