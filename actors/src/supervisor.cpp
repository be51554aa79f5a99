// The public face of supervisors. Must never wait on the I/O thread, but for the destructor.

#include "mp/supervisor.hpp"

#include "mp/error.hpp"
#include "mp/this_process.hpp"
#include "supervisor_core.hpp"

#include <boost/system/system_error.hpp>

namespace mp {
namespace detail {
namespace {

class supervisor_join final : public async_operation {
public:
  supervisor_join(completion_ptr<void(std::exception_ptr, verdict)> done, std::shared_ptr<supervisor_core> core)
      : done_(std::move(done)), core_(std::move(core)) {}

  bool try_finish() noexcept override {
    if (!core_->has_ended()) return false;
    finish([&] { return core_->result(true); });
    return true;
  }
  int prepare() noexcept override { return core_->ended_fd(); }
  void abort(const error_code& why) noexcept override {
    finish([&]() -> verdict { throw boost::system::system_error(why); });
  }

private:
  template <class F>
  void finish(F&& outcome) noexcept {
    try {
      std::exception_ptr problem;
      verdict what;
      try {
        what = outcome();
      } catch (...) {
        problem = std::current_exception();
      }
      done_->post(std::move(problem), std::move(what));
    } catch (...) {  // no memory for the last word
    }
  }

  const completion_ptr<void(std::exception_ptr, verdict)> done_;
  const std::shared_ptr<supervisor_core> core_;
};

}  // namespace

void async_join(const std::shared_ptr<supervisor_core>& core, completion_ptr<void(std::exception_ptr, verdict)> done,
                asio::cancellation_slot slot) {
  auto operation = std::make_shared<supervisor_join>(std::move(done), core);
  if (slot.is_connected())
    slot.assign([weak = std::weak_ptr<async_operation>(operation)](asio::cancellation_type type) {
      if (type != asio::cancellation_type::none) cancel_operation(weak);
    });
  start_operation(std::move(operation));
}

}  // namespace detail

supervisor::supervisor(supervisor_options options, std::vector<child_spec> children) {
  detail::check_may_wait("supervisor");
  core_ = detail::supervisor_core::begin({std::move(options), std::move(children)});
  core_->wait_started();
}

supervisor::supervisor(supervisor&&) noexcept = default;

supervisor& supervisor::operator=(supervisor&& other) noexcept {
  if (this != &other) {
    supervisor old(std::move(*this));
    core_ = std::move(other.core_);
  }
  return *this;
}

supervisor::~supervisor() {
  if (!core_) return;
  // In a forked copy the thread is not there, and the children are not ours: what it held stays as it is.
  if (core_->made_in() != this_process::pid()) {
    static_cast<void>(new (std::nothrow) std::shared_ptr<detail::supervisor_core>(std::move(core_)));
    return;
  }
  verdict ignored;
  core_->stop_by(time_point::max(), ignored);
}

const std::shared_ptr<detail::supervisor_core>& supervisor::core(const char* call) const {
  if (!core_) detail::throw_error(errc::closed, std::string(call) + ": this supervisor object was moved from");
  if (core_->made_in() != this_process::pid())
    detail::throw_error(errc::wrong_process,
                        std::string(call) + ": this supervisor belongs to process " + std::to_string(core_->made_in()));
  return core_;
}

void supervisor::start_child(child_spec spec) {
  const auto& c = core("supervisor::start_child");
  c->call("supervisor::start_child", [&] { c->add_child(std::move(spec)); });
}

void supervisor::terminate_child(std::string_view name) {
  const auto& c = core("supervisor::terminate_child");
  c->call("supervisor::terminate_child", [&] { c->terminate_child(name); });
}

void supervisor::restart_child(std::string_view name) {
  const auto& c = core("supervisor::restart_child");
  c->call("supervisor::restart_child", [&] { c->restart_child(name); });
}

void supervisor::delete_child(std::string_view name) {
  const auto& c = core("supervisor::delete_child");
  c->call("supervisor::delete_child", [&] { c->delete_child(name); });
}

mp::address supervisor::address(std::string_view child) const {
  const auto& c = core("supervisor::address");
  mp::address found;
  c->call("supervisor::address", [&] { found = c->address_of(child); });
  return found;
}

std::vector<child_info> supervisor::which_children() const { return core("supervisor::which_children")->children(); }

child_counts supervisor::count_children() const { return core("supervisor::count_children")->counts(); }

verdict supervisor::stop() {
  const auto& c = core("supervisor::stop");
  if (!c->has_ended()) detail::check_may_wait("supervisor::stop");
  c->ask_to_stop();
  c->wait_ended(time_point::max());
  return c->result(false);
}

verdict supervisor::join() {
  const auto& c = core("supervisor::join");
  if (!c->has_ended()) detail::check_may_wait("supervisor::join");
  c->wait_ended(time_point::max());
  return c->result(true);
}

std::optional<verdict> supervisor::join_for(duration limit) {
  const auto& c = core("supervisor::join_for");
  if (!c->has_ended() && limit.count().count() > 0) detail::check_may_wait("supervisor::join_for");
  if (!c->wait_ended(deadline_after(std::chrono::steady_clock::now(), limit))) return std::nullopt;
  return c->result(true);
}

}  // namespace mp
