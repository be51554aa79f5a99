#pragma once
// What the tests of supervisors share: children that tell who they are, and a book of events.

#include "mp/detail/async.hpp"
#include "mp/queue.hpp"
#include "mp/supervisor.hpp"
#include "mp/this_process.hpp"
#include "support/catch.hpp"
#include "support/fd_ledger.hpp"
#include "support/patience.hpp"

#include <signal.h>
#include <unistd.h>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace mp_test {

/// A ledger that takes the I/O thread, which events are told on, for given.
struct io_ledger : fd_ledger {
  io_ledger() : fd_ledger((mp::detail::io_thread_ref(), fd_ledger())) {}
};

/// A child's word that it runs: its name and pid.
struct sign {
  std::string name;
  pid_t pid = 0;
};
using signs = mp::queue<sign>;

inline void tell(const signs& to) { to.put({mp::this_process::name(), mp::this_process::pid()}); }

/// Runs until it is asked to stop.
inline void serve(std::stop_token stop, signs to) {
  tell(to);
  std::mutex mutex;
  std::condition_variable_any asked;
  std::unique_lock lock(mutex);
  asked.wait(lock, stop, [] { return false; });
}
/// Runs until a signal ends it.
inline void sleep_on(signs to) {
  tell(to);
  for (;;) ::pause();
}
/// Hears no SIGTERM.
inline void stay(signs to) {
  ::signal(SIGTERM, SIG_IGN);
  tell(to);
  for (;;) ::pause();
}
/// Ends at once, with this code.
inline void leave(signs to, int code) {
  tell(to);
  mp::this_process::exit(code);
}

/// The next child that says so; a failed test if none does.
inline sign expect(const signs& from) {
  auto got = from.get_for(long_patience);
  REQUIRE(got);
  return *got;
}

/// Events as they come.
class event_book {
public:
  /// Events are told on the I/O thread, the last ones perhaps after the supervisor has gone: so the pages are shared.
  auto writer() {
    return [to = pages_](const mp::child_event& e) {
      const std::lock_guard lock(to->mutex);
      to->events.push_back(e);
      to->news.notify_all();
    };
  }
  /// The first `n`; a failed test if they do not come.
  std::vector<mp::child_event> wait(std::size_t n) {
    std::unique_lock lock(pages_->mutex);
    const bool came = pages_->news.wait_for(lock, patience, [&] { return pages_->events.size() >= n; });
    REQUIRE(came);
    return pages_->events;
  }

private:
  struct pages {
    std::mutex mutex;
    std::condition_variable news;
    std::vector<mp::child_event> events;
  };
  std::shared_ptr<pages> pages_ = std::make_shared<pages>();
};

inline std::vector<std::string> names(const std::vector<mp::departure>& gone) {
  std::vector<std::string> all;
  for (const auto& d : gone) all.push_back(d.name);
  return all;
}
inline mp::child_info info_of(const mp::supervisor& s, const std::string& name) {
  for (const auto& c : s.which_children())
    if (c.name == name) return c;
  return {};
}

}  // namespace mp_test
