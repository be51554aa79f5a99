// Requests of this process: their numbers, their answers, their deadlines, the deaths of those who were asked. Must end
// every request exactly once, whatever becomes of the process that was asked.

#include "process/requests.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/request.hpp"
#include "mp/error.hpp"
#include "mp/remote_error.hpp"
#include "os/per_process.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "process/mailbox_state.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

namespace mp::detail {
namespace {

using peer = std::pair<pid_t, std::uint64_t>;

struct open_entry {
  open_request* request = nullptr;
  state_ptr<future_base> keep;
  time_point until;
  peer whom;
};

/// The end of a process that was asked, which is watched until it comes.
using watched_end = std::unique_ptr<asio::posix::stream_descriptor>;

// Everything is guarded by the mutex; what waits runs on the I/O thread. Nothing is answered under the lock: hooks of
// the future may ask again.
struct request_table {
  std::mutex mutex;
  handle answers;  // a receiver and a sender, held together as everything
  std::unordered_map<std::uint64_t, open_entry> open;
  std::map<peer, watched_end> peers;
  std::shared_ptr<asio::steady_timer> timer;
  time_point timer_at = time_point::max();
  bool listening = false;

  // Under the lock: an entry that is no longer open.
  open_entry remove(std::unordered_map<std::uint64_t, open_entry>::iterator at) {
    open_entry gone = std::move(at->second);
    open.erase(at);
    return gone;
  }
};
request_table& the_requests() { return os::one_per_process<request_table>(); }

std::exception_ptr problem(errc code, const std::string& text) { return std::make_exception_ptr(error(code, text)); }

std::string name_of(const peer& p) { return "address::request: process " + std::to_string(p.first); }

/// Fails all that `chosen` says, outside of the lock.
template <class Chosen>
void fail_where(request_table& t, Chosen chosen, errc code, const char* what) noexcept {
  try {
    std::vector<open_entry> gone;
    {
      const std::lock_guard lock(t.mutex);
      for (auto it = t.open.begin(); it != t.open.end();) {
        const auto here = it++;
        if (chosen(here->second)) gone.push_back(t.remove(here));
      }
    }
    for (open_entry& e : gone) e.request->failed(problem(code, name_of(e.whom) + what));
  } catch (...) {
    // No memory: the deadline, or the next look, tells them.
  }
}

void take_answer(void*, incoming&& item) {
  request_table& t = the_requests();
  decoder d(item.bytes, std::move(item.fds));
  const auto number = d.number<std::uint64_t>();
  const bool good = d.flag();
  open_entry e;
  {
    const std::lock_guard lock(t.mutex);
    const auto at = t.open.find(number);
    if (at == t.open.end()) return;  // too late, or given up
    e = t.remove(at);
  }
  const std::size_t left = d.left();
  const std::byte* at = d.take(left);
  if (good)
    e.request->answered({at, at + left}, d.take_attachments());
  else
    e.request->failed(decode_exception({at, left}, 0, 1, "process " + std::to_string(e.whom.first)));
}

void drain(request_table& t) {
  for (;;) {
    std::size_t taken = 0;
    if (t.answers.shared()->get(role::whole, 64, take_answer, nullptr, time_point::min(), taken) != op_status::ok)
      return;
  }
}

class listen_operation final : public async_operation {
public:
  const void* group() const noexcept override { return &the_requests(); }
  bool try_finish() noexcept override {
    request_table& t = the_requests();
    try {
      drain(t);
    } catch (...) {
      // A garbled answer: its request ends by its deadline.
    }
    const std::lock_guard lock(t.mutex);
    if (!t.open.empty()) return false;
    t.listening = false;
    return true;
  }
  int prepare() noexcept override {
    try {
      const auto from = the_requests().answers.shared();
      return from->prepare_poll(role::whole, side::get) ? at_once : from->poll_fd(side::get);
    } catch (...) {
      return none;
    }
  }
  void abort(const error_code&) noexcept override {
    fail_where(
        the_requests(), [](const open_entry&) { return true; }, errc::shut_down,
        " was asked, and then the library was shut down here");
  }
};

void set_timer(request_table& t, time_point next);

void on_timer() noexcept {
  request_table& t = the_requests();
  const time_point now = std::chrono::steady_clock::now();
  fail_where(
      t, [now](const open_entry& e) { return e.until <= now; }, errc::deadline_exceeded, " did not answer in time");
  try {
    const std::lock_guard lock(t.mutex);
    t.timer_at = time_point::max();
    time_point next = time_point::max();
    for (const auto& [number, e] : t.open) next = std::min(next, e.until);
    set_timer(t, next);
  } catch (...) {
    // Tried again with the next request.
  }
}

// Under the lock.
void set_timer(request_table& t, time_point next) {
  if (next >= t.timer_at) return;
  if (!t.timer) t.timer = std::make_shared<asio::steady_timer>(io_context());
  t.timer_at = next;
  asio::post(io_context(), [timer = t.timer, next] {
    timer->expires_at(next);
    timer->async_wait([timer](const error_code& stopped) {
      if (!stopped) on_timer();
    });
  });
}

void on_end_of(const peer& whom) noexcept {
  request_table& t = the_requests();
  try {
    drain(t);  // what it answered before counts
  } catch (...) {
  }
  watched_end gone;
  {
    const std::lock_guard lock(t.mutex);
    if (const auto at = t.peers.find(whom); at != t.peers.end()) {
      gone = std::move(at->second);
      t.peers.erase(at);
    }
  }
  fail_where(
      t, [&](const open_entry& e) { return e.whom == whom; }, errc::peer_died, " ended before it answered");
}

// Under the lock. Nobody else's pid: the start time says so after the descriptor is open.
void watch(request_table& t, const peer& whom) {
  if (whom.first == ::getpid() || t.peers.count(whom) != 0) return;
  unique_fd fd = os::open_pidfd(whom.first);
  const bool same = fd && os::start_time_of(whom.first) == whom.second;
  if (!same) {
    asio::post(io_context(), [whom] { on_end_of(whom); });
    return;
  }
  auto end = std::make_unique<asio::posix::stream_descriptor>(io_context(), fd.get());
  static_cast<void>(fd.release());
  end->async_wait(asio::posix::stream_descriptor::wait_read, [whom](const error_code& stopped) {
    if (!stopped) on_end_of(whom);
  });
  t.peers[whom] = std::move(end);
}

}  // namespace

open_request::open_request()
    : number_([] {
        static std::atomic<std::uint64_t> next{1};
        return next.fetch_add(1, std::memory_order_relaxed);
      }()) {}

void forget_request(std::uint64_t number) noexcept {
  open_entry gone;
  request_table& t = the_requests();
  const std::lock_guard lock(t.mutex);
  if (const auto at = t.open.find(number); at != t.open.end()) gone = t.remove(at);
}

bool is_open_request(std::uint64_t number) noexcept {
  request_table& t = the_requests();
  const std::lock_guard lock(t.mutex);
  return t.open.count(number) != 0;
}

void fail_request(std::uint64_t number, std::exception_ptr why) noexcept {
  open_entry gone;
  {
    request_table& t = the_requests();
    const std::lock_guard lock(t.mutex);
    if (const auto at = t.open.find(number); at != t.open.end()) gone = t.remove(at);
  }
  if (gone.request) gone.request->failed(std::move(why));
}

void refuse_request(std::uint64_t number) noexcept {
  pid_t whom = 0;
  {
    request_table& t = the_requests();
    const std::lock_guard lock(t.mutex);
    if (const auto at = t.open.find(number); at != t.open.end()) whom = at->second.whom.first;
  }
  try {
    fail_request(number, problem(errc::overloaded, "address::request: the mailbox of process " + std::to_string(whom) +
                                                       " is full; nothing was sent"));
  } catch (...) {
    fail_request(number, std::current_exception());
  }
}

const handle& own_answers() {
  request_table& t = the_requests();
  const std::lock_guard lock(t.mutex);
  if (!t.answers.is_open()) t.answers = handle(make_channel({}), role::whole);
  return t.answers;
}

bool send_request(const std::shared_ptr<address_state>& to, const letter& what, duration limit,
                  std::uint64_t answer_type, open_request& request, state_ptr<future_base> keep) {
  const std::uint64_t number = request.number();
  const auto fail = [&](std::exception_ptr why) {
    forget_request(number);
    request.failed(std::move(why));
    return false;
  };
  if (!to) return fail(problem(errc::closed, "address::request: the address names nobody"));
  static_cast<void>(own_answers());
  request_table& t = the_requests();
  const peer whom{to->pid(), to->start_time()};
  // A seat that nobody holds.
  if (whom.first == 0) return fail(problem(errc::peer_died, "address::request: nobody runs there now"));
  {
    const std::lock_guard lock(t.mutex);
    const time_point until = deadline_after(std::chrono::steady_clock::now(), limit);
    t.open[number] = {&request, std::move(keep), until, whom};
    watch(t, whom);
    set_timer(t, until);
    if (!std::exchange(t.listening, true)) start_operation(std::make_shared<listen_operation>());
  }
  try {
    if (post_mail(to, what, "address::request", {number, answer_type})) return true;
    refuse_request(number);
    return false;
  } catch (const error& e) {
    if (e.code() == errc::unencodable || e.code() == errc::too_large) {
      forget_request(number);
      throw;
    }
    return fail(std::current_exception());
  } catch (...) {
    forget_request(number);
    throw;
  }
}

}  // namespace mp::detail
