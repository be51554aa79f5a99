// Answers to requests of other processes. Must never wait for who asked, must lose none while who asked lives, and must
// never throw at who answers.

#include "mp/detail/request.hpp"
#include "mp/error.hpp"
#include "mp/remote_error.hpp"
#include "process/mailbox_state.hpp"

#include <memory>
#include <optional>
#include <string>

namespace mp::detail {
namespace {

struct answer {
  std::uint64_t number;
  bool good;
  void (*write)(const void*, encoder&);
  const void* value;
  std::optional<std::uint64_t> listed{};  // the type, where the answer is a list of this one value
};

std::shared_ptr<const asker> who_asked(const mail& asked) {
  mailbox_state& me = own_mailbox();
  const std::lock_guard lock(me.mutex);
  const auto it = me.answer_to.find({asked.sender_pid, asked.sender_token});
  return it == me.answer_to.end() ? nullptr : it->second;
}

}  // namespace

template <>
struct handle_codec<answer> {
  [[maybe_unused]] static constexpr std::uint64_t hash = hash_text("mp::answer");
  static void encode(encoder& e, const answer& a) {
    e.number(a.number);
    e.number(static_cast<std::uint8_t>(a.good));
    if (a.listed) e.number(std::uint64_t{*a.listed != 0});
    if (a.listed && *a.listed != 0) e.number(*a.listed);
    a.write(a.value, e);
  }
};

namespace {

// False: not now. No room beside a gigabyte of answers, no memory for more, or another who answers is stopped in the
// middle of it: as long as the asker lives, that may pass.
bool put(const asker& to, const outgoing& out) {
  try {
    const op_status s = to.answers.shared()->put_now(role::sender, out);
    return s != op_status::timed_out && s != op_status::busy;
  } catch (const error& e) {
    if (e.code() != errc::out_of_resources) throw;
    return false;
  }
}

class late_answer final : public outbox::item {
public:
  late_answer(std::shared_ptr<const asker> to, kept_message what) : to_(std::move(to)), what_(std::move(what)) {}
  bool try_put() noexcept override {
    try {
      return to_->answers.shared()->nobody_gets(role::sender) || put(*to_, what_.view());
    } catch (...) {
      return true;  // not one that can be put
    }
  }

private:
  const std::shared_ptr<const asker> to_;
  const kept_message what_;
};

void send(const mail& asked, const answer& what) {
  const auto to = who_asked(asked);
  if (!to) return;
  if (to->late->is_empty() && with_message(what, [&](const outgoing& out) { return put(*to, out); })) return;
  to->late->add(
      std::make_unique<late_answer>(to, kept_message::of([&](encoder& e) { handle_codec<answer>::encode(e, what); })));
}

}  // namespace

void send_failure(const mail& asked, std::exception_ptr why) noexcept {
  try {
    const auto bytes = encode_exception(std::move(why), {});
    send(asked, {asked.request, false,
                 [](const void* b, encoder& e) {
                   const auto& all = *static_cast<const std::vector<std::byte>*>(b);
                   e.raw(all.data(), all.size());
                 },
                 &bytes});
  } catch (...) {
    // No memory: who asked has a deadline.
  }
}

void send_answer(const mail& asked, std::uint64_t type, std::string_view name, void (*write)(const void*, encoder&),
                 const void* value) noexcept {
  try {
    if (type == asked.answer_type) return send(asked, {asked.request, true, write, value});
    if (asked.answer_type == any_answer && write) return send(asked, {asked.request, true, write, value, type});
    throw_error(errc::type_mismatch, "address::request: the handler's answer is of type " + std::string(name) +
                                         ", another than the request's");
  } catch (...) {
    send_failure(asked, std::current_exception());
  }
}

}  // namespace mp::detail
