// The class process: its states and who may do what in which. Must not know how a child is started.

#include "mp/process.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/process_hooks.hpp"
#include "mp/error.hpp"
#include "os/fork_guard.hpp"
#include "os/title.hpp"
#include "process/child.hpp"
#include "process/mailbox_link.hpp"
#include "process/process_table.hpp"
#include "process/self.hpp"
#include "process/starter.hpp"

#include <csignal>
#include <mutex>

namespace mp {
namespace detail {

//   made --start--> started --close--> (no state: closed)
// A failed start leaves it as made.
class process_state {
public:
  process_state(process_options o, encoded c)
      : options(std::move(o)), call(waiting_call{std::move(c.bytes), std::move(c.fds)}) {}

  const process_options options;
  // Set by whoever asks first, if the options have none.
  const std::string& name() {
    std::call_once(named_, [this] { name_ = options.name.empty() ? this_self().next_child_name() : options.name; });
    return name_;
  }
  std::optional<waiting_call> call;  // until started
  std::shared_ptr<detail::child> child;
  std::array<os::guarded_fd, 3> streams;
  bool own_group = false;
  const std::uint64_t made_in = os::fork_generation();

private:
  std::once_flag named_;
  std::string name_;
};

namespace {

class join_operation final : public async_operation {
public:
  join_operation(completion_ptr<void(error_code, mp::exit_status)> done, std::shared_ptr<child> child)
      : done_(std::move(done)), child_(std::move(child)) {}

  bool try_finish() noexcept override {
    try {
      const auto ended = child_->wait(time_point::min());
      if (!ended) return false;
      remove_child(child_.get());
      done_->post({}, ended->status);
    } catch (...) {
      done_->post(to_error_code(std::current_exception()), {});
    }
    return true;
  }
  int prepare() noexcept override { return child_->end_fd(); }
  void abort(const error_code& why) noexcept override { done_->post(why, {}); }

private:
  const completion_ptr<void(error_code, mp::exit_status)> done_;
  const std::shared_ptr<child> child_;
};

// Nobody asks for it any more: its end is only noticed, so that it does not stay a zombie.
class reap_operation final : public async_operation {
public:
  explicit reap_operation(std::shared_ptr<child> c) : child_(std::move(c)) {}
  bool try_finish() noexcept override {
    try {
      if (!child_->wait(time_point::min())) return false;
      remove_child(child_.get());
    } catch (...) {
      // No memory to look: the next start will.
    }
    return true;
  }
  int prepare() noexcept override { return child_->end_fd(); }
  void abort(const error_code&) noexcept override {}

private:
  const std::shared_ptr<child> child_;
};

// The I/O thread looks after it: reaps it, and frees what we hold of it. Where there is no such thread yet, it is started
// only for a child that would stay a zombie: not for one that the fork server reaps, and not for one made by fork(),
// because the next fork would be refused while it runs. These are seen to by the next start.
void let_go(std::shared_ptr<child> c) noexcept {
  let_go_of_child(c.get());
  try {
    if (!has_io_thread() && (c->has_server() || c->who().forked)) return;
    if (c->wait(time_point::min())) return remove_child(c.get());
    start_operation(std::make_shared<reap_operation>(std::move(c)));
  } catch (...) {
    // No thread, or the process is ending: the next start reaps, or the end does.
  }
}

}  // namespace

void async_join(const std::shared_ptr<child>& c, completion_ptr<void(error_code, mp::exit_status)> done,
                asio::cancellation_slot slot) {
  auto operation = std::make_shared<join_operation>(std::move(done), c);
  if (slot.is_connected())
    slot.assign([weak = std::weak_ptr<async_operation>(operation)](asio::cancellation_type type) {
      if (type != asio::cancellation_type::none) cancel_operation(weak);
    });
  start_operation(std::move(operation));
}

}  // namespace detail

process::process() noexcept = default;
process::process(process&&) noexcept = default;

process& process::operator=(process&& other) noexcept {
  if (this != &other) {
    process old(std::move(*this));
    state_ = std::move(other.state_);
  }
  return *this;
}

process::~process() {
  if (state_ && state_->child && state_->made_in == os::fork_generation()) detail::let_go(std::move(state_->child));
}

process::process(detail::encoded call, tag t) : process(process_options{}, std::move(call), t) {}
process::process(process_options options, detail::encoded call, tag)
    : state_(std::make_unique<detail::process_state>(std::move(options), std::move(call))) {}

detail::encoded process::encode_task(const task& t) {
  const auto& call = call_of(t);
  if (!call) detail::throw_error(errc::invalid_argument, "process: an empty task cannot be run");
  return detail::serialise_call(*call);
}

detail::process_state& process::state(const char* what) const {
  if (!state_) detail::throw_error(errc::closed, std::string(what) + ": this process object was closed or moved from");
  os::check_process(state_->made_in, what);
  return *state_;
}

std::shared_ptr<detail::child> process::started_child(const char* what) const {
  auto& s = state(what);
  if (!s.child) detail::throw_error(errc::not_started, std::string(what) + ": call start() first");
  return s.child;
}

process& process::start() & {
  detail::process_hooks::start(*this, -1);
  return *this;
}

void detail::process_hooks::start(process& p, int give_up) {
  auto& s = p.state("process::start");
  if (s.child)
    detail::throw_error(errc::already_started,
                        "process::start: " + s.name() + " was started before; make a new process");
  detail::check_may_wait("process::start");
  detail::check_initialised();
  detail::reap_some();

  detail::start_plan plan;
  plan.give_up = give_up;
  plan.options = &s.options;
  plan.name = s.name();
  plan.call = &*s.call;
  plan.own_group = s.own_group;
  plan.takes_stop = detail::wants_stop_token(s.call->bytes);
  auto started = detail::start_child(plan);
  s.child = std::move(started.child);
  s.streams = std::move(started.ours);
  detail::add_child(s.child);
  // The parent no longer holds what it passed on: else it would keep ends of channels open.
  s.call.reset();
}

exit_status process::join() { return *join_until(time_point::max()); }

std::optional<exit_status> process::join_for(duration limit) {
  return join_until(deadline_after(std::chrono::steady_clock::now(), limit));
}

std::optional<exit_status> process::join_until(time_point when) {
  const auto c = started_child("process::join");
  auto ended = c->wait(detail::on_io_thread() ? time_point::min() : when);
  if (!ended) detail::check_may_wait("process::join");
  if (!ended) return std::nullopt;
  detail::remove_child(c.get());
  return ended->status;
}

std::optional<exit_status> process::exit_status() const {
  const auto c = started_child("process::exit_status");
  const auto ended = c->wait(time_point::min());
  if (!ended) return std::nullopt;
  detail::remove_child(c.get());
  return ended->status;
}

std::optional<failure> process::failure() const { return started_child("process::failure")->failure(); }

void process::request_stop() {
  const auto c = started_child("process::request_stop");
  // A child whose socket is full hears of it later or never; we must not wait.
  c->send(os::control_kind::stop_request, {}, {}, time_point::min());
}

void process::interrupt() { started_child("process::interrupt")->signal(SIGINT); }
void process::terminate() { started_child("process::terminate")->signal(SIGTERM); }
void process::kill() { started_child("process::kill")->signal(SIGKILL); }

bool process::is_alive() const {
  const auto& s = state("process::is_alive");
  return s.child && !s.child->wait(time_point::min());
}

pid_t process::pid() const { return started_child("process::pid")->who().pid; }

const std::string& process::name() const { return state("process::name").name(); }

bool process::daemon() const { return state("process::daemon").options.daemon || detail::this_self().daemon; }

int process::sentinel() const { return started_child("process::sentinel")->pidfd(); }

unique_fd process::take_in() {
  started_child("process::take_in");
  return state_->streams[0].release();
}
unique_fd process::take_out() {
  started_child("process::take_out");
  return state_->streams[1].release();
}
unique_fd process::take_err() {
  started_child("process::take_err");
  return state_->streams[2].release();
}

mp::address process::address() const {
  return detail::address_access::make(detail::address_of_child(*started_child("process::address")));
}

void process::close() {
  if (!state_) return;
  auto& s = state("process::close");
  if (s.child && !s.child->wait(time_point::min()))
    detail::throw_error(errc::still_running,
                        "process::close: " + s.name() + " (pid " + std::to_string(s.child->who().pid) + ") still runs");
  if (s.child) detail::remove_child(s.child.get());
  state_.reset();
}

namespace detail {

void process_hooks::lead_own_group(process& p) {
  auto& s = p.state("process_hooks::lead_own_group");
  if (s.child) throw_error(errc::already_started, "process " + s.name() + " has its group already: it was started");
  s.own_group = true;
}

void process_hooks::show_as(std::string_view what) noexcept {
  try {
    const auto& arguments = this_self().arguments;
    std::string title = arguments.empty() ? std::string() : arguments.front();
    title.erase(0, title.rfind('/') + 1);
    os::set_title(title + ": " + std::string(what));
  } catch (...) {
    // No memory for a name: it keeps the one it has.
  }
}

void process_hooks::signal(process& p, int number) { p.started_child("process_hooks::signal")->signal(number); }

std::shared_ptr<child> process_hooks::child_of(const process& p) { return p.started_child("process_hooks::child_of"); }

bool process_hooks::is_known_to_have_ended(child& c) noexcept {
  try {
    return c.is_known_to_have_ended();
  } catch (...) {
    return false;
  }
}

std::optional<mp::post_mortem> process_hooks::post_mortem(const process& p) {
  const auto c = p.started_child("process_hooks::post_mortem");
  const auto ended = c->wait(time_point::min());
  if (!ended) return std::nullopt;
  mp::post_mortem found;
  found.status = ended->status;
  if (found.status.is_exited())
    found.why = death::exited;
  else if (found.status.is_signaled())
    found.why = death::signaled;
  found.process_name = c->who().name;
  found.pid = c->who().pid;
  if (auto failure = c->failure()) found.failure = std::move(*failure);
  if (found.failure.stderr_tail.empty()) found.failure.stderr_tail = c->stderr_tail();
  const auto length = [](const timeval& t) {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  found.user_time = length(ended->usage.ru_utime);
  found.system_time = length(ended->usage.ru_stime);
  found.peak_memory = static_cast<std::size_t>(ended->usage.ru_maxrss) * 1024;
  return found;
}

}  // namespace detail
}  // namespace mp
