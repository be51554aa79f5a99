// Receiving. Must keep what fits no handler now, in its order, and must not take more of it than the mailbox may hold.

#include "mp/mailbox.hpp"

#include "mp/error.hpp"
#include "os/fork_guard.hpp"
#include "os/memfd.hpp"
#include "os/proc.hpp"
#include "process/child.hpp"
#include "process/mailbox_state.hpp"
#include "process/messages.hpp"
#include "process/self.hpp"
#include "process/stop.hpp"

#include <unistd.h>
#include <atomic>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>

namespace mp {
namespace detail {
namespace {

constexpr std::ptrdiff_t usual_bound = 10'000;

channel_options mailbox_options(std::ptrdiff_t bound) {
  channel_options o;
  o.maxsize = static_cast<std::size_t>(bound);
  return o;
}

handle make_mailbox(std::ptrdiff_t bound) { return handle(make_channel(mailbox_options(bound)), role::whole); }

struct mailbox_state {
  const std::uint64_t generation = os::fork_generation();
  std::recursive_mutex mutex;  // guards the following; an address is encoded under it
  handle own, keep;            // everything; a sender, so that no receive ends because nobody is left
  bool known_outside = false;  // somebody may hold our address: the mailbox cannot be exchanged any more
  std::ptrdiff_t bound = usual_bound;
  std::map<std::pair<pid_t, std::uint64_t>, std::shared_ptr<address_state>> known;
  packed_mailbox to_children, from_parent;
  pid_t parent = 0;
  std::shared_ptr<address_state> parent_state;
  std::atomic<bool> watching{false};

  // One receiving thread at a time:
  std::mutex receiving;
  std::deque<std::shared_ptr<mail>> aside;

  std::shared_ptr<channel> channel_now() {
    const std::lock_guard lock(mutex);
    if (!own.is_open()) adopt(make_mailbox(bound));
    return own.shared();
  }
  void adopt(handle fresh) {
    own = std::move(fresh);
    keep = handle(own.shared(), role::sender);
  }
};

mailbox_state& state() {
  static std::atomic<mailbox_state*> instance{nullptr};
  mailbox_state* now = instance.load(std::memory_order_acquire);
  while (!now || now->generation != os::fork_generation()) {
    // Never destroyed. A forked child starts with a new one.
    auto fresh = std::make_unique<mailbox_state>();
    if (instance.compare_exchange_strong(now, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
  }
  return *now;
}

handle unpack(std::span<const std::byte> bytes, std::vector<unique_fd>&& fds) {
  decoder d(bytes, std::move(fds));
  handle h = handle::adopt(import_handle(d, 0));
  d.finish();
  return h;
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

// What the parent sends into the mailbox that it made is put into ours: others know ours already.
class bridge final : public async_operation {
public:
  explicit bridge(handle from) : from_(std::move(from)) {}
  bool try_finish() noexcept override {
    try {
      for (;;) {
        const auto into = state().channel_now();
        if (!into->ready(role::whole, side::put)) return false;
        std::size_t taken = 0;
        const auto forward = [](void* to, incoming&& item) {
          outgoing out;
          out.size = item.bytes.size();
          out.bytes = item.bytes;
          out.fds = item.fds;
          static_cast<void>(static_cast<channel*>(to)->put(role::whole, out, time_point::min()));
        };
        const op_status s = from_.shared()->get(role::receiver, 1, forward, into.get(), time_point::min(), taken);
        if (s == op_status::timed_out) return false;
        if (s != op_status::ok) return true;  // the parent is gone
      }
    } catch (...) {
      return true;
    }
  }
  int prepare() noexcept override {
    try {
      return from_.shared()->prepare_poll(role::receiver, side::get) ? at_once : from_.shared()->poll_fd(side::get);
    } catch (...) {
      return none;
    }
  }
  void abort(const error_code&) noexcept override {}

private:
  handle from_;
};

// On the I/O thread of a child: its parent made a mailbox for it.
void take_over(os::control_message&& message) {
  handle from_parent = unpack(message.body(), std::move(message.fds));
  mailbox_state& me = state();
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

void watch_for_parent() {
  if (!this_self().is_child || state().watching.exchange(true)) return;
  static std::once_flag registered;
  std::call_once(registered, [] { on_message_in_child(mailbox_kind, take_over); });
  watch_parent();
}

std::shared_ptr<mail> read_mail(incoming&& item) {
  decoder d(item.bytes, std::move(item.fds));
  auto m = std::make_shared<mail>();
  m->sender_token = d.number<std::uint64_t>();
  m->sender_pid = d.number<std::int32_t>();
  if (d.flag()) {
    const address from = handle_codec<address>::decode(d);
    mailbox_state& me = state();
    const std::lock_guard lock(me.mutex);
    std::erase_if(me.known, [](const auto& entry) { return !entry.second->is_alive(); });
    me.known[{m->sender_pid, m->sender_token}] = address_access::state(from);
  }
  m->types.resize(d.count(sizeof(std::uint64_t)));
  d.raw(m->types.data(), m->types.size() * sizeof(std::uint64_t));
  const std::size_t left = d.left();
  const std::byte* at = d.take(left);
  m->values.assign(at, at + left);
  m->fds = d.take_attachments();
  return m;
}

std::shared_ptr<mail> take_aside(mailbox_state& me, bool (*fits)(void*, const mail&), void* context) {
  for (auto it = me.aside.begin(); it != me.aside.end(); ++it) {
    if (!fits(context, **it)) continue;
    auto found = std::move(*it);
    me.aside.erase(it);
    return found;
  }
  return nullptr;
}

struct names {
  std::mutex mutex;
  std::unordered_map<std::uint64_t, std::string_view> by_hash;
  static names& get() {
    static auto* const all = new names;
    return *all;
  }
};

thread_local std::shared_ptr<mail> handled_now;

}  // namespace

bool name_type(std::uint64_t hash, std::string_view name) noexcept {
  try {
    names& all = names::get();
    const std::lock_guard lock(all.mutex);
    all.by_hash.emplace(hash, name);
  } catch (...) {
    return false;
  }
  return true;
}

handling::handling(std::shared_ptr<mail> current) : before_(std::exchange(handled_now, std::move(current))) {}
handling::~handling() { handled_now = std::move(before_); }

std::shared_ptr<mail> next_mail(bool (*fits)(void*, const mail&), void* context, time_point until, const char* call) {
  if (until > time_point::min()) check_may_wait(call);
  mailbox_state& me = state();
  watch_for_parent();
  const std::unique_lock one(me.receiving, std::try_to_lock);
  if (!one.owns_lock())
    throw_error(errc::would_deadlock, std::string(call) +
                                          ": another thread of this process receives, or a handler of "
                                          "it does: one thread receives at a time");
  if (auto found = take_aside(me, fits, context)) return found;
  for (;;) {
    if (std::ssize(me.aside) >= me.bound)
      throw_error(errc::out_of_resources, std::string(call) + ": " + std::to_string(me.aside.size()) +
                                              " messages lie here that fit no handler; the oldest holds " +
                                              mail_access::wrap(me.aside.front()).type_names() +
                                              ": receive it, or take any_message");
    const auto from = me.channel_now();
    std::shared_ptr<mail> got;
    std::size_t taken = 0;
    const auto keep = [](void* into, incoming&& item) {
      *static_cast<std::shared_ptr<mail>*>(into) = read_mail(std::move(item));
    };
    const op_status status = from->get(role::whole, 1, keep, &got, until, taken);
    if (status == op_status::timed_out) return nullptr;
    if (status != op_status::ok) continue;  // exchanged for the one that our parent made
    if (fits(context, *got)) return got;
    me.aside.push_back(std::move(got));
  }
}

namespace {

class mail_operation final : public async_operation {
public:
  explicit mail_operation(completion_ptr<void(error_code, any_message)> done) : done_(std::move(done)) {}
  const void* group() const noexcept override { return &state(); }
  bool try_finish() noexcept override {
    try {
      auto got =
          next_mail([](void*, const mail&) { return true; }, nullptr, time_point::min(), "mailbox::async_receive");
      if (!got) return false;
      done_->post({}, mail_access::wrap(std::move(got)));
    } catch (...) {
      abort(to_error_code(std::current_exception()));
    }
    return true;
  }
  int prepare() noexcept override {
    try {
      const auto from = state().channel_now();
      return from->prepare_poll(role::whole, side::get) ? at_once : from->poll_fd(side::get);
    } catch (...) {
      return none;
    }
  }
  void abort(const error_code& why) noexcept override {
    try {
      done_->post(why, {});
    } catch (...) {  // no memory for the last word
    }
  }

private:
  completion_ptr<void(error_code, any_message)> done_;
};

}  // namespace

void async_next_mail(completion_ptr<void(error_code, any_message)> done, asio::cancellation_slot slot) {
  watch_for_parent();
  auto operation = std::make_shared<mail_operation>(std::move(done));
  if (slot.is_connected())
    slot.assign([weak = std::weak_ptr<async_operation>(operation)](asio::cancellation_type type) {
      if (type != asio::cancellation_type::none) cancel_operation(weak);
    });
  start_operation(std::move(operation));
}

const packed_mailbox& packed_own_address() noexcept {
  static const packed_mailbox none;
  try {
    mailbox_state& me = state();
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
  mailbox_state& me = state();
  const std::lock_guard lock(me.mutex);
  std::erase_if(me.known, [&](auto& entry) { return entry.first.first == pid; });
}

void set_parent_address(packed_mailbox&& packed, pid_t parent) noexcept {
  mailbox_state& me = state();
  me.from_parent = std::move(packed);
  me.parent = parent;
}

std::shared_ptr<address_state> parent_address() {
  mailbox_state& me = state();
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
  const auto ended = [&] {
    if (const auto end = c.wait(time_point::min()))
      throw_error(end->status.is_exited() ? errc::closed : errc::peer_died,
                  "process::address: " + c.who().name + " has ended: " + to_string(end->status));
  };
  ended();
  const std::uint64_t start_time = os::start_time_of(pid);
  mailbox_state& me = state();
  const std::lock_guard lock(me.mutex);
  auto& known = me.known[{pid, start_time}];
  if (known) return known;
  const handle all = make_mailbox(usual_bound);
  const packed_mailbox packed = pack(*all.shared(), role::whole);
  std::vector<int> fds;
  for (const unique_fd& fd : packed.fds) fds.push_back(fd.get());
  const int problem =
      c.send(mailbox_kind, packed.bytes, fds, std::chrono::steady_clock::now() + std::chrono::seconds(1));
  if (problem != 0) {
    ended();
    throw_system_error(errc::out_of_resources, "process::address: cannot hand a mailbox to " + c.who().name, problem);
  }
  known = std::make_shared<address_state>(handle(all.shared(), role::sender), pid, start_time);
  return known;
}

std::shared_ptr<address_state> known_address(pid_t pid, std::uint64_t start_time) {
  mailbox_state& me = state();
  const std::lock_guard lock(me.mutex);
  const auto it = me.known.find({pid, start_time});
  return it == me.known.end() ? nullptr : it->second;
}

}  // namespace detail

std::string any_message::type_names() const {
  if (!mail_) return {};
  std::string text;
  detail::names& all = detail::names::get();
  const std::lock_guard lock(all.mutex);
  for (const std::uint64_t hash : mail_->types) {
    const auto it = all.by_hash.find(hash);
    if (!text.empty()) text += ", ";
    text += it == all.by_hash.end() ? std::string_view("?") : it->second;
  }
  return text;
}

mp::address any_message::sender() const {
  return mail_ ? detail::address_access::make(detail::known_address(mail_->sender_pid, mail_->sender_token))
               : mp::address();
}

mp::address mailbox::address() const {
  detail::watch_for_parent();
  auto& me = detail::state();
  const auto own = me.channel_now();
  const std::lock_guard lock(me.mutex);
  me.known_outside = true;
  const pid_t pid = ::getpid();
  return detail::address_access::make(std::make_shared<detail::address_state>(
      detail::handle(me.own.shared(), detail::role::sender), pid, os::start_time_of(pid)));
}

mp::address mailbox::sender() const {
  return detail::handled_now ? mail_access::wrap(detail::handled_now).sender() : mp::address();
}

void mailbox::set_bound(std::ptrdiff_t messages) {
  if (messages < 1)
    detail::throw_error(errc::invalid_argument, "mailbox::set_bound(" + std::to_string(messages) + "): at least 1");
  auto& me = detail::state();
  const auto own = me.channel_now();
  const std::lock_guard lock(me.mutex);
  me.bound = messages;
  own->set_maxsize(static_cast<std::size_t>(messages));
}

}  // namespace mp
