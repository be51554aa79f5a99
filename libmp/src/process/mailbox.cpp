// Receiving. Must keep what fits no handler now, in its order, and must not take more of it than the mailbox may hold.

#include "mp/mailbox.hpp"

#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "os/proc.hpp"
#include "process/mailbox_state.hpp"
#include "process/stop.hpp"

#include <unistd.h>
#include <string>
#include <unordered_map>

namespace mp {
namespace detail {
namespace {

std::shared_ptr<mail> read_mail(incoming&& item) {
  decoder d(item.bytes, std::move(item.fds));
  auto m = std::make_shared<mail>();
  m->sender_token = d.number<std::uint64_t>();
  m->sender_pid = d.number<std::int32_t>();
  const auto brings = d.number<std::uint8_t>();
  mailbox_state& me = own_mailbox();
  const std::pair who(m->sender_pid, m->sender_token);
  if (brings & brings_address) {
    const address from = handle_codec<address>::decode(d);
    const std::lock_guard lock(me.mutex);
    std::erase_if(me.known, [](const auto& entry) { return !entry.second->is_alive(); });
    me.known[who] = address_access::state(from);
  }
  if (brings & is_request) {
    m->request = d.number<std::uint64_t>();
    m->answer_type = d.number<std::uint64_t>();
  }
  if (brings & brings_answers) {
    auto to = std::make_shared<const asker>(
        handle::import_from(d, 0, "address", [](role r, const channel_options&) { return r == role::sender; }));
    const std::lock_guard lock(me.mutex);
    std::erase_if(me.answer_to,
                  [](const auto& entry) { return os::start_time_of(entry.first.first) != entry.first.second; });
    me.answer_to[who] = std::move(to);
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
  mailbox_state& me = own_mailbox();
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
  const void* group() const noexcept override { return &own_mailbox(); }
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
      const auto from = own_mailbox().channel_now();
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
  auto& me = detail::own_mailbox();
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
  auto& me = detail::own_mailbox();
  const auto own = me.channel_now();
  const std::lock_guard lock(me.mutex);
  me.bound = messages;
  own->set_maxsize(static_cast<std::size_t>(messages));
}

}  // namespace mp
