// Addresses and sending. Must never tell a sender that its message arrived when it did not.

#include "mp/address.hpp"

#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "mp/mailbox.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "process/mailbox_state.hpp"
#include "process/requests.hpp"

#include <unistd.h>
#include <string>
#include <utility>
#include <vector>

namespace mp {
namespace detail {
namespace {

struct envelope {
  const letter& what;
  const address* introduction;  // null: the receiver knows us
  const handle* answers;        // likewise, where answers go
  question asks;
};

}  // namespace

template <>
struct handle_codec<envelope> {
  [[maybe_unused]] static constexpr std::uint64_t hash = hash_text("mp::envelope");
  static void encode(encoder& e, const envelope& m) {
    const pid_t me = ::getpid();
    e.number(os::start_time_of(me));
    e.number(static_cast<std::int32_t>(me));
    e.number(static_cast<std::uint8_t>((m.introduction ? brings_address : 0) | (m.asks.number ? is_request : 0) |
                                       (m.answers ? brings_answers : 0)));
    if (m.introduction) handle_codec<address>::encode(e, *m.introduction);
    if (m.asks.number) {
      e.number(m.asks.number);
      e.number(m.asks.answer_type);
    }
    if (m.answers) m.answers->with(role::sender, "address", "ask").export_to(e, "address");
    e.number(static_cast<std::uint64_t>(m.what.types.size()));
    e.raw(m.what.types.data(), m.what.types.size_bytes());
    m.what.write(m.what.values, e);
  }
};

bool address_state::is_alive() const noexcept {
  const pid_t who = pid();
  return who != 0 && os::is_running(who, start_time());
}

op_status put_mail(const std::shared_ptr<address_state>& to, const letter& what, time_point until, const char* call,
                   question asks) {
  // Until the receiver knows where answers go, requests go one by one: none may overtake the one that says it.
  std::unique_lock in_turn(to->first_request(), std::defer_lock);
  if (asks.number != 0 && !to->knows_answers()) in_turn.lock();
  const bool first = to->introduce();
  const bool first_asked = asks.number != 0 && !to->knows_answers();
  address own;
  try {
    if (first) own = mailbox{}.address();
    channel& c = to->to().open_to_put("address", "send to it");
    const envelope all{what, first ? &own : nullptr, first_asked ? &own_answers() : nullptr, asks};
    const op_status status =
        c.nobody_gets(role::sender) ? op_status::closed : with_message(all, [&](const outgoing& out) {
          return until > time_point::min() ? c.put(role::sender, out, until) : c.put_now(role::sender, out);
        });
    if (status == op_status::ok && first_asked) to->answers_told();
    if (status == op_status::ok) return status;
    if (first) to->forget_introduction();
    if (status == op_status::timed_out || status == op_status::busy) return status;
    const std::string who = std::string(call) + ": process " + std::to_string(to->pid());
    if (c.left_in_order(side::get)) throw_error(errc::closed, who + " has left; nothing was sent");
    throw_error(errc::peer_died, who + " died; nothing was sent");
  } catch (...) {
    if (first) to->forget_introduction();
    throw;
  }
}

bool send_mail(const std::shared_ptr<address_state>& to, const letter& what, time_point until, const char* call) {
  if (!to) throw_error(errc::closed, std::string(call) + ": the address names nobody");
  if (until > time_point::min()) check_may_wait(call);
  if (!to->late().is_empty() && !to->late().flush_until(until)) return false;
  return put_mail(to, what, until, call) == op_status::ok;
}

namespace {

class late_letter final : public outbox::item {
public:
  late_letter(std::shared_ptr<address_state> to, const letter& what, const char* call, question asks)
      : to_(std::move(to)),
        types_(what.types.begin(), what.types.end()),
        values_(kept_message::of([&](encoder& e) { what.write(what.values, e); })),
        call_(call),
        asks_(asks) {}

  bool try_put() noexcept override {
    if (asks_.number != 0 && !is_open_request(asks_.number)) return true;
    try {
      const letter what{types_,
                        [](const void* from, encoder& e) { static_cast<const kept_message*>(from)->write_into(e); },
                        &values_};
      status_ = put_mail(to_, what, time_point::min(), call_, asks_);
      // A full mailbox is an answer to a request; what else is here was accepted.
      return status_ != op_status::busy && (asks_.number != 0 || status_ != op_status::timed_out);
    } catch (...) {
      problem_ = std::current_exception();
      return true;
    }
  }
  void finish() noexcept override {
    if (asks_.number == 0) return;
    if (status_ == op_status::timed_out) return refuse_request(asks_.number);
    if (problem_) fail_request(asks_.number, std::move(problem_));
  }

private:
  const std::shared_ptr<address_state> to_;
  const std::vector<std::uint64_t> types_;
  const kept_message values_;
  const char* const call_;
  const question asks_;
  op_status status_ = op_status::ok;
  std::exception_ptr problem_;
};

}  // namespace

bool post_mail(const std::shared_ptr<address_state>& to, const letter& what, const char* call, question asks) {
  if (!to) throw_error(errc::closed, std::string(call) + ": the address names nobody");
  outbox& late = to->late();
  if (late.is_empty() || late.flush()) {
    const op_status status = put_mail(to, what, time_point::min(), call, asks);
    if (status != op_status::busy) return status == op_status::ok;
  }
  // Who is stopped in the middle of a put may be so for long: what waits here is a mailbox that is full, some time.
  if (std::cmp_greater_equal(late.size(), usual_mailbox_bound)) return false;
  late.add(std::make_unique<late_letter>(to, what, call, asks));
  return true;
}

bool post_mail(const std::shared_ptr<address_state>& to, const letter& what, const char* call) {
  return post_mail(to, what, call, {});
}

void handle_codec<address>::encode(encoder& e, const address& a) {
  const auto& state = address_access::state(a);
  e.number(static_cast<std::uint8_t>(state != nullptr));
  if (!state) return;
  e.number(static_cast<std::int32_t>(state->pid()));
  e.number(state->start_time());
  state->to().export_to(e, "address");
}

address handle_codec<address>::decode(decoder& d) {
  if (!d.flag()) return {};
  const auto pid = d.number<std::int32_t>();
  const auto start_time = d.number<std::uint64_t>();
  handle to = handle::import_from(d, 0, "address", [](role r, const channel_options&) { return r == role::sender; });
  return address_access::make(std::make_shared<address_state>(std::move(to), pid, start_time));
}

}  // namespace detail

pid_t address::pid() const { return state_ ? state_->pid() : 0; }

bool address::is_alive() const { return state_ && state_->is_alive(); }

bool operator==(const address& a, const address& b) noexcept {
  if (!a.state_ || !b.state_ || a.state_ == b.state_) return a.state_ == b.state_;
  return a.state_->pid() == b.state_->pid() && a.state_->start_time() == b.state_->start_time();
}

}  // namespace mp
