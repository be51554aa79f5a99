#pragma once
// What this process holds, counted before and after: a test that leaks fails.

#include <sys/types.h>
#include <iosfwd>
#include <map>
#include <set>
#include <string>

namespace mp_test {

/// What a process holds at one moment, as /proc tells.
struct holdings {
  std::map<int, std::string> descriptors;  ///< number -> what it is ("socket:[123]", "/memfd:mp (deleted)")
  std::map<pid_t, std::string> children;   ///< pid -> state letter and command; Z is a zombie
  std::map<std::string, int> memfd_maps;   ///< inode -> number of mappings
  std::set<pid_t> threads;

  static holdings now();
};

/// Remembers what this process holds; `clean()` compares. What the library keeps for good once it was used (its fork
/// server, its I/O thread) is brought up before the first look, so that it is not taken for a leak.
class fd_ledger {
public:
  explicit fd_ledger(bool may_become_fewer = false);

  /// Is everything given back? Waits for a while, because some ends are tidied up by the library's own thread.
  bool clean() const;
  /// What is there now and was not there before, one line each. Empty: nothing. Descriptors are counted by kind.
  std::string difference() const;

private:
  bool may_become_fewer_;
  holdings before_;
};

/// Starts what the library keeps for good.
void warm_up();

}  // namespace mp_test

/// Checks that nothing has leaked since `ledger` was made, and says what has.
#define CHECK_CLEAN(ledger)                    \
  do {                                         \
    const bool clean_ = (ledger).clean();      \
    INFO("leaked: " << (ledger).difference()); \
    CHECK(clean_);                             \
  } while (false)
