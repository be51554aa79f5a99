#pragma once
// What the tests of mp::process share: every start method, a child's output as text, functions that children run.

#include "mp/process.hpp"
#include "mp/this_process.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <unistd.h>
#include <cerrno>
#include <string>
#include <utility>

namespace mp_test {

/// fork_with_threads stands for fork, too: Catch2's process may have threads of the library's own by then.
inline mp::start_method any_method() {
  return GENERATE(mp::start_method::forkserver, mp::start_method::spawn, mp::start_method::fork_with_threads);
}

/// All that comes out of a descriptor until its end.
inline std::string read_all(const mp::unique_fd& fd) {
  std::string text;
  char block[4096];
  while (readable(fd.get())) {
    const ssize_t got = ::read(fd.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(block, static_cast<std::size_t>(got));
  }
  return text;
}

/// A child that has ended, and what it wrote to stdout.
struct said {
  mp::exit_status status;
  std::string out;
};
template <class F, class... A>
said run_and_read(mp::process_options options, F&& f, A&&... args) {
  options.out = mp::stdio::pipe();
  mp::process p(std::move(options), std::forward<F>(f), std::forward<A>(args)...);
  p.start();
  std::string out = read_all(p.take_out());
  return {p.join_for(long_patience).value_or(mp::exit_status()), std::move(out)};
}

/// Ends when a signal does.
[[noreturn]] inline void wait_for_ever() {
  for (;;) ::pause();
}
inline void do_nothing() {}

}  // namespace mp_test
