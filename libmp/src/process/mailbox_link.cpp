// How mailboxes come to be and how addresses travel between parent and child. Must not take a mailbox that others know
// from under them.

#include "process/mailbox_link.hpp"

#include "mp/address.hpp"
#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "os/memfd.hpp"
#include "os/per_process.hpp"
#include "os/proc.hpp"
#include "process/child.hpp"
#include "process/mailbox_state.hpp"
#include "process/messages.hpp"
#include "process/self.hpp"
#include "process/stop.hpp"

#include <mutex>
#include <optional>
#include <string>

namespace mp::detail {
namespace {

handle unpack(std::span<const std::byte> bytes, std::vector<unique_fd>&& fds) {
  decoder d(bytes, std::move(fds));
  handle h = handle::adopt(import_handle(d, 0));
  d.finish();
  return h;
}

// What the parent sends into the mailbox that it made is put into ours: others know ours already.
// One message at a time is in its hand, until it is in ours: another may take the room that was seen, or be stopped in the
// middle of a put. It puts as a sender: the only one who has everything of a full channel would be told that it has ended.
class bridge final : public async_operation {
public:
  explicit bridge(handle from) : from_(std::move(from)) {}
  bool try_finish() noexcept override {
    try {
      for (;;) {
        into_ = own_mailbox().channel_now();
        if (in_hand_) {
          last_ = into_->put_now(role::sender, in_hand_->view());
          tries_in_vain_ = last_ == op_status::ok ? 0 : tries_in_vain_ + 1;
          if (last_ != op_status::ok) return false;
          in_hand_.reset();
        }
        if (!into_->ready(role::sender, side::put)) {
          last_ = op_status::timed_out;
          return false;
        }
        last_ = op_status::ok;
        std::size_t taken = 0;
        const auto take = [](void* into, incoming&& item) {
          static_cast<std::optional<kept_message>*>(into)->emplace(
              kept_message{{item.bytes.begin(), item.bytes.end()}, std::move(item.fds)});
        };
        const op_status s = from_.shared()->get(role::receiver, 1, take, &in_hand_, time_point::min(), taken);
        if (s == op_status::timed_out) return false;
        if (s != op_status::ok) return true;  // the parent is gone
      }
    } catch (const error& e) {
      return e.code() != errc::out_of_resources;  // else what was taken is in hand, and the rest still there
    } catch (...) {
      return false;
    }
  }
  int prepare() noexcept override {
    try {
      const int again = tries_in_vain_ < hasty_tries ? soon : none;
      if (last_ == op_status::busy) return again;
      if (last_ == op_status::timed_out)
        return into_->prepare_poll(role::sender, side::put) ? again : into_->poll_fd(side::put);
      return from_.shared()->prepare_poll(role::receiver, side::get) ? at_once : from_.shared()->poll_fd(side::get);
    } catch (...) {
      return none;
    }
  }
  void abort(const error_code&) noexcept override {}

private:
  const handle from_;
  std::shared_ptr<channel> into_;
  std::optional<kept_message> in_hand_;
  op_status last_ = op_status::ok;  // of the way into ours
  int tries_in_vain_ = 0;
};

// On the I/O thread of a child: its parent made a mailbox for it.
void take_over(os::control_message&& message) {
  handle from_parent = unpack(message.body(), std::move(message.fds));
  mailbox_state& me = own_mailbox();
  handle before;
  {
    const std::lock_guard lock(me.mutex);
    if (!me.known_outside) {
      before = std::move(me.own);
      me.adopt(std::move(from_parent));
    }
  }
  if (from_parent.is_open()) return start_operation(std::make_shared<bridge>(std::move(from_parent)));
  if (before.is_open()) before.shared()->shutdown();  // wakes who waits for it: it looks again
}

}  // namespace

handle make_mailbox(std::ptrdiff_t bound) {
  channel_options o;
  o.maxsize = static_cast<std::size_t>(bound);
  return handle(make_channel(o), role::whole);
}

packed_mailbox pack(channel& c, role r) {
  packed_mailbox p;
  p.bytes.resize(256);
  encoder e(p.bytes);
  c.export_handle(e, r);
  p.bytes.resize(e.size());
  p.fds = std::move(e.attachments());
  return p;
}

int hand_over_mailbox(channel& c, child& to) {
  const packed_mailbox packed = pack(c, role::whole);
  std::vector<int> fds;
  for (const unique_fd& fd : packed.fds) fds.push_back(fd.get());
  return to.send(mailbox_kind, packed.bytes, fds, std::chrono::steady_clock::now() + std::chrono::seconds(1));
}

void check_still_runs(child& c, const char* call) {
  if (const auto end = c.wait(time_point::min()))
    throw_error(end->status.is_exited() ? errc::closed : errc::peer_died,
                std::string(call) + ": " + c.who().name + " has ended: " + to_string(end->status));
}

std::shared_ptr<channel> mailbox_state::channel_now() {
  const std::lock_guard lock(mutex);
  if (!own.is_open()) adopt(make_mailbox(bound));
  return own.shared();
}

void mailbox_state::adopt(handle fresh) {
  own = std::move(fresh);
  keep = handle(own.shared(), role::sender);
}

mailbox_state& own_mailbox() { return os::one_per_process<mailbox_state>(); }

void expect_mailbox() {
  static std::once_flag registered;
  std::call_once(registered, [] { on_message_in_child(mailbox_kind, take_over); });
}

void watch_for_parent() {
  if (!this_self().is_child || own_mailbox().watching.exchange(true)) return;
  watch_parent();
}

const packed_mailbox& packed_own_address() noexcept {
  static const packed_mailbox none;
  try {
    mailbox_state& me = own_mailbox();
    const auto own = me.channel_now();
    const std::lock_guard lock(me.mutex);
    me.known_outside = true;
    if (me.to_children.bytes.empty()) {
      me.to_children = pack(*own, role::sender);
      for (const unique_fd& fd : me.to_children.fds) os::close_on_fork(fd.get());
    }
    return me.to_children;
  } catch (...) {
    return none;  // the start goes on; a child that sends to us is told
  }
}

void forget_address(pid_t pid) noexcept {
  mailbox_state& me = own_mailbox();
  const std::lock_guard lock(me.mutex);
  std::erase_if(me.known, [&](auto& entry) { return entry.first.first == pid; });
  std::erase_if(me.answer_to, [&](auto& entry) { return entry.first.first == pid; });
}

void set_parent_address(packed_mailbox&& packed, pid_t parent) noexcept {
  mailbox_state& me = own_mailbox();
  me.from_parent = std::move(packed);
  me.parent = parent;
}

std::shared_ptr<address_state> parent_address() {
  mailbox_state& me = own_mailbox();
  const std::lock_guard lock(me.mutex);
  if (me.parent_state) return me.parent_state;
  if (me.from_parent.fds.empty())
    throw_error(errc::closed,
                "parent_process::send: the parent had no room for a mailbox when it started this process");
  // Every child got the same open file description; presence needs one of its own.
  std::vector<unique_fd> fds = std::move(me.from_parent.fds);
  fds[0] = os::reopen(fds[0].get());
  me.parent_state = std::make_shared<address_state>(unpack(me.from_parent.bytes, std::move(fds)), me.parent,
                                                    os::start_time_of(me.parent));
  return me.parent_state;
}

std::shared_ptr<address_state> address_of_child(child& c) {
  const pid_t pid = c.who().pid;
  check_still_runs(c, "process::address");
  const std::uint64_t start_time = os::start_time_of(pid);
  mailbox_state& me = own_mailbox();
  const std::lock_guard lock(me.mutex);
  auto& known = me.known[{pid, start_time}];
  if (known) return known;
  const handle all = make_mailbox(usual_mailbox_bound);
  if (const int problem = hand_over_mailbox(*all.shared(), c)) {
    check_still_runs(c, "process::address");
    throw_system_error(errc::out_of_resources, "process::address: cannot hand a mailbox to " + c.who().name, problem);
  }
  known = std::make_shared<address_state>(handle(all.shared(), role::sender), pid, start_time);
  return known;
}

std::shared_ptr<address_state> known_address(pid_t pid, std::uint64_t start_time) {
  mailbox_state& me = own_mailbox();
  const std::lock_guard lock(me.mutex);
  const auto it = me.known.find({pid, start_time});
  if (it != me.known.end()) return it->second;
  // Our parent need not have introduced itself to us: it may have meant who had this mailbox before.
  if (pid == me.parent && start_time == os::start_time_of(pid)) return parent_address();
  return nullptr;
}

}  // namespace mp::detail
