#pragma once
/// @file
/// How a process ended.
///
/// Model:    Python's exitcode, as a type instead of a signed number.
/// Threads:  a value.                Processes: copied.

#include <iosfwd>
#include <optional>
#include <string>

namespace mp {

/// How a process ended: with a code, by a signal, or in a way that nobody can tell any more.
/// Printed: "exited with code 0", "killed by SIGSEGV (core dumped)", "ended, status unknown".
///
/// Threads:  a value.   Processes: copied.
class exit_status {
public:
  /// Unknown: the process has ended, and the kernel cannot say how.
  exit_status() noexcept = default;
  static exit_status exited(int code) noexcept { return {kind::exited, code, false}; }
  static exit_status signaled(int signal, bool core = false) noexcept { return {kind::signaled, signal, core}; }

  bool is_exited() const noexcept { return kind_ == kind::exited; }
  bool is_signaled() const noexcept { return kind_ == kind::signaled; }
  bool is_unknown() const noexcept { return kind_ == kind::unknown; }
  /// Exited with code 0.
  bool success() const noexcept { return is_exited() && value_ == 0; }

  std::optional<int> code() const noexcept { return is_exited() ? std::optional(value_) : std::nullopt; }
  std::optional<int> signal() const noexcept { return is_signaled() ? std::optional(value_) : std::nullopt; }
  bool core_dumped() const noexcept { return core_; }

  friend bool operator==(const exit_status&, const exit_status&) = default;
  friend std::ostream& operator<<(std::ostream&, const exit_status&);

private:
  enum class kind : unsigned char { unknown, exited, signaled };
  exit_status(kind k, int value, bool core) noexcept : kind_(k), core_(core), value_(value) {}

  kind kind_ = kind::unknown;
  bool core_ = false;
  int value_ = 0;
};

std::string to_string(const exit_status&);

}  // namespace mp
