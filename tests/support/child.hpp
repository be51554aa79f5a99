#pragma once
// Children that a test makes without the library: a program of the tests run with arguments, or a raw fork. Nothing is
// ever asserted in a child: it answers by its exit status and by what it writes.

#include "mp/unique_fd.hpp"

#include <sys/types.h>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mp_test {

/// How a program ended, and what it said.
struct outcome {
  int code = -1;      ///< exit code; -1 if a signal ended it or it was killed for lateness
  int signal = 0;     ///< 0: none
  bool late = false;  ///< still ran after the limit, and was killed
  std::string out, err;
};

/// Runs `command` (path and arguments) to its end, with nothing inherited but `environment` on top of ours.
/// Kills it when `seconds` are over.
outcome run_program(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment = {},
                    int seconds = 60);

/// The path of a program of this build, given by meson as MP_TEST_<NAME>.
std::string program_path(const std::string& name);

/// A raw fork that runs `body` and ends with its result by _exit. Killed and reaped by the destructor.
class forked_child {
public:
  explicit forked_child(const std::function<int()>& body);
  forked_child(const forked_child&) = delete;
  forked_child& operator=(const forked_child&) = delete;
  ~forked_child();

  pid_t pid() const { return pid_; }
  void kill(int signal) const;
  /// The wait status (see wait(2)); nullopt if it did not end within patience.
  std::optional<int> wait();

private:
  pid_t pid_ = -1;
  mp::unique_fd pidfd_;
  std::optional<int> status_;
};

/// A pipe of the kernel, for bytes that tell facts ("I hold the lock now").
class fact_pipe {
public:
  fact_pipe();
  /// Writes one byte. Safe in any process that inherited it.
  void tell(char fact = '.') const;
  /// Waits for one byte; nullopt if patience is over or every writer has gone.
  std::optional<char> hear() const;
  /// After a fork: this process only hears, so that it sees the end of the last teller.
  void only_hear() { write_.reset(); }
  int read_fd() const { return read_.get(); }
  int write_fd() const { return write_.get(); }

private:
  mp::unique_fd read_, write_;
};

/// Is the descriptor readable within patience?
bool readable(int fd);

}  // namespace mp_test
