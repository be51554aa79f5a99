// Messages from the parent, read by the I/O thread on demand. Must not start that thread in a child that never asks.

#include "process/stop.hpp"

#include "mp/detail/async.hpp"
#include "mp/this_process.hpp"
#include "os/control.hpp"
#include "process/mailbox_link.hpp"
#include "process/messages.hpp"
#include "process/self.hpp"

#include <memory>
#include <mutex>
#include <new>

namespace mp {
namespace detail {
namespace {

struct stop_state {
  std::mutex mutex;
  std::stop_source source;
  bool watching = false;
};
alignas(stop_state) std::byte storage[sizeof(stop_state)];
stop_state& state() noexcept {
  static stop_state* const made = new (storage) stop_state;
  return *made;
}

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

void trip_stop_token() noexcept { state().source.request_stop(); }

void reset_stop_state() noexcept {
  state();
  new (storage) stop_state;
}

void watch_parent() {
  if (!this_self().is_child) return;
  {
    const std::lock_guard lock(state().mutex);
    if (std::exchange(state().watching, true)) return;
  }
  expect_mailbox();
  start_operation(std::make_shared<parent_watch>());
}

}  // namespace detail

std::stop_token this_process::stop_token() {
  detail::watch_parent();
  return detail::state().source.get_token();
}

}  // namespace mp
