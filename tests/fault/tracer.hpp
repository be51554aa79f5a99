#pragma once
// Runs one operation in a traced child and stops it after exactly n instructions, shared-memory changes or system-call
// stops. See FAULTS 3.1: the sweep kills there and lets a survivor judge.

#include <sys/types.h>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace mp_fault {

/// How far one step goes. `change`: to behind the next instruction that changed watched memory or was a system call;
/// between two of these, no survivor can tell two kill points apart. `call`: to the next entry or exit of a call.
enum class grain { instruction, change, call };

class traced_child {
public:
  /// Forks. The child runs `prepare`, stops, runs `act`, then waits to be killed.
  traced_child(const std::function<void()>& prepare, const std::function<void()>& act);
  traced_child(const traced_child&) = delete;
  traced_child& operator=(const traced_child&) = delete;
  ~traced_child();

  /// Waits until the child stands in front of `act`. False: it failed in `prepare`.
  bool wait_prepared();
  /// Goes on by `count` steps. True: `act` ended before they were used up.
  bool advance(grain, std::size_t count, const std::vector<std::span<const std::byte>>& watched = {});
  /// SIGKILL, and waits until it is dead.
  void kill();
  /// What `act` threw, or how the child ended by itself; empty: neither.
  const char* complaint() const;
  std::size_t instructions() const { return instructions_; }
  pid_t pid() const { return pid_; }

private:
  struct board;
  bool step(bool by_call);
  bool at_system_call() const;

  board* board_;
  pid_t pid_ = -1;
  std::size_t instructions_ = 0;
};

/// Makes this and all later processes run on one processor: a step is then two context switches, not two wake-ups.
void use_one_processor();
/// Lazy binding would make most instructions the dynamic linker's: starts this program again without it.
void bind_now(char** argv);

}  // namespace mp_fault
