// Messages from the parent, read by the I/O thread on demand. Must not start that thread in a child that never asks.

#include "process/stop.hpp"

#include "mp/detail/async.hpp"
#include "mp/this_process.hpp"
#include "os/control.hpp"
#include "os/per_process.hpp"
#include "process/mailbox_link.hpp"
#include "process/messages.hpp"
#include "process/self.hpp"

#include <memory>
#include <mutex>

namespace mp {
namespace detail {
namespace {

struct stop_state {
  std::mutex mutex;
  std::stop_source source;
  bool watching = false;
};
using own_stop = os::fork_state<stop_state>;

class parent_watch final : public async_operation {
public:
  bool try_finish() noexcept override {
    for (;;) {
      try {
        os::control_message message;
        switch (os::receive_control(this_self().control.get(), message, false)) {
          case os::control_status::nothing: return false;
          case os::control_status::ended: return true;  // the parent let go of us; or it died, and so do we
          case os::control_status::broken: continue;
          case os::control_status::ok: break;
        }
        if (message.kind == os::control_kind::stop_request)
          trip_stop_token();
        else
          deliver_to_child(std::move(message));
      } catch (...) {
        // A handler that throws, or no memory: the next message is not its fault.
      }
    }
  }
  int prepare() noexcept override { return this_self().control.get(); }
  void abort(const error_code&) noexcept override {}
};

}  // namespace

void trip_stop_token() noexcept { own_stop::get().source.request_stop(); }

void reset_stop_state() noexcept { own_stop::begin_again(); }

void watch_parent() {
  if (!this_self().is_child) return;
  {
    stop_state& own = own_stop::get();
    const std::lock_guard lock(own.mutex);
    if (std::exchange(own.watching, true)) return;
  }
  expect_mailbox();
  start_operation(std::make_shared<parent_watch>());
}

}  // namespace detail

std::stop_token this_process::stop_token() {
  detail::watch_parent();
  return detail::own_stop::get().source.get_token();
}

}  // namespace mp
