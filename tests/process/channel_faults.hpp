#pragma once
// What the tests of channels through processes share: notes from children, facts from /proc, figures.

#include "mp/connection.hpp"
#include "mp/init.hpp"
#include "mp/pipe.hpp"
#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "mp/this_process.hpp"
#include "mp/wait.hpp"
#include "support/catch.hpp"
#include "support/fd_ledger.hpp"
#include "support/figures.hpp"
#include "support/patience.hpp"

#include <signal.h>
#include <unistd.h>
#include <algorithm>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mp_test {

/// What this process holds, the library's I/O thread included: it is brought up before, for it stays for good.
inline fd_ledger holdings_now() {
  static const bool up = [] {
    mp::queue<int> q;
    q.put(1);
    return q.async_get(mp::asio::use_future).get() == 1;
  }();
  REQUIRE(up);
  return fd_ledger{};
}

/// What a child tells. Children assert nothing.
struct note {
  int who = 0;
  std::string what{};
  std::int64_t number = 0;
  std::int64_t when = 0;  ///< nanoseconds of the monotonic clock, the same in every process
};

inline std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

/// The name of what `f` threw: "closed", "peer_died", .. ; "nothing" if it returned.
template <class F>
std::string outcome_of(F&& f) {
  try {
    f();
  } catch (const mp::error& e) {
    if (e.code() == mp::errc::closed) return "closed";
    if (e.code() == mp::errc::peer_died) return "peer_died";
    if (e.code() == mp::errc::wrong_process) return "wrong_process";
    if (e.code() == mp::errc::undecodable) return "undecodable";
    return e.what();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing";
}

/// Stays until it is killed: children do not outlive their parent.
inline void stay() { mp::this_process::parent()->join(); }

/// What carries channels to other processes: each of these tests runs over every one.
inline constexpr mp::transport carriers[] = {mp::transport::ring, mp::transport::socket};
inline constexpr mp::transport all_transports[] = {mp::transport::ring, mp::transport::socket, mp::transport::local};

inline const char* name_of(mp::transport t) {
  return t == mp::transport::ring ? "ring" : t == mp::transport::socket ? "socket" : "local";
}

/// The state letter of a process: S sleeps, T is stopped, Z has ended; 0: there is none.
inline char state_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(in, line);
  const auto close = line.rfind(')');
  return close == std::string::npos || close + 2 >= line.size() ? '\0' : line[close + 2];
}
inline bool falls_asleep(pid_t pid) {
  return eventually([pid] { return state_of(pid) == 'S'; });
}

/// Bytes of "RssAnon" or "RssShmem" of a process.
inline std::size_t resident(pid_t pid, std::string_view kind) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(kind)) return std::stoull(line.substr(kind.size() + 1)) << 10;
  return 0;
}
inline std::size_t available_memory() {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) << 10;
  return 0;
}

}  // namespace mp_test

/// The next note, or a failed test if none comes within patience.
#define REQUIRE_NOTE(variable, queue)                          \
  const auto variable##_ = (queue).get_for(mp_test::patience); \
  REQUIRE(variable##_.has_value());                            \
  [[maybe_unused]] const mp_test::note& variable = *variable##_
