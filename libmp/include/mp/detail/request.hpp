#pragma once
/// @file
/// A message that is answered: what waits for the answer here, and how a handler's result goes back.
/// Not for users: `address::request` and `mailbox::receive` are their way in.
///
/// Shape:    a request carries a number and the type of the wanted answer; answers come through a queue of the asking
///           process, of which each process that it asks gets a sender. The I/O thread gives each answer to its future.
/// Copies:   as mail.
/// Threads:  see each class.         Processes: the same build on both sides.
/// Death:    the death of the asked process ends its requests with peer_died, after what it had answered.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/detail/future_hooks.hpp"
#include "mp/detail/future_state.hpp"
#include "mp/detail/mail.hpp"
#include "mp/duration.hpp"

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp::detail {

class address_state;

/// What names an answer's type; 0: void.
template <class R>
constexpr std::uint64_t answer_type() noexcept {
  if constexpr (std::is_void_v<R>)
    return 0;
  else
    return type_hash<R>();
}

/// Wanted by who takes whatever comes: the answer is then a list, as in a letter: how many values, and for each the hash
/// of its type before it.
inline constexpr std::uint64_t any_answer = 1;

/// A request that is under way, as the table of requests sees it.
///
/// Threads:  thread-safe: one of the calls wins.   Processes: process-bound.
class open_request {
public:
  virtual void answered(std::vector<std::byte> value, std::vector<unique_fd> fds) noexcept = 0;
  virtual void failed(std::exception_ptr why) noexcept = 0;

  std::uint64_t number() const noexcept { return number_; }

protected:
  open_request();
  ~open_request() = default;

private:
  const std::uint64_t number_;  // unique in this process
};

/// Nobody waits for this one any more.
void forget_request(std::uint64_t number) noexcept;

/// The answer is decoded by whoever takes it.
///
/// Threads:  thread-safe.   Processes: process-bound.
template <class R>
class request_state final : public future_state<R>, public open_request {
public:
  using value_type = typename future_state<R>::value_type;

  void answered(std::vector<std::byte> value, std::vector<unique_fd> fds) noexcept override {
    if (!this->claim()) return;
    bytes_ = std::move(value);
    fds_ = std::move(fds);
    this->publish();
  }
  void failed(std::exception_ptr why) noexcept override { this->set_error(std::move(why)); }

  bool cancel() override {
    const bool mine =
        this->set_error(std::make_exception_ptr(error(errc::cancelled, "address::request: it was cancelled")));
    if (mine) forget_request(number());
    return mine;
  }
  void abandon() noexcept override {
    if (!this->is_ready()) forget_request(number());
  }
  value_type take() override {
    if (this->error_) return future_state<R>::take();
    decoder d(bytes_, std::move(fds_));
    if constexpr (std::is_void_v<R>) {
      d.finish();
      return {};
    } else {
      value_type value = decode<R>(d);
      d.finish();
      return value;
    }
  }

private:
  std::vector<std::byte> bytes_;
  std::vector<unique_fd> fds_;
};

/// Sends it, and gives its answer, or what went wrong, to `request`, which `keep` owns. False: it was not sent.
/// Throws: error{unencodable}, error{too_large}.
bool send_request(const std::shared_ptr<address_state>& to, const letter& what, duration limit,
                  std::uint64_t answer_type, open_request& request, state_ptr<future_base> keep);

// ---- In the process that was asked

/// Both never throw: who cannot be reached any more has died, or gave up.
void send_answer(const mail& asked, std::uint64_t type, std::string_view type_name,
                 void (*write)(const void* value, encoder&), const void* value) noexcept;
void send_failure(const mail& asked, std::exception_ptr why) noexcept;

/// Runs a handler: its result answers, what it throws goes to who asked. Without a question: dropped, and thrown.
template <class F>
void handle_mail(const mail& m, F&& handler) {
  if (m.request == 0) {
    static_cast<void>(handler());
    return;
  }
  using result = std::decay_t<decltype(handler())>;
  try {
    if constexpr (std::is_void_v<result>) {
      handler();
      send_answer(
          m, 0, "void", [](const void*, encoder&) {}, nullptr);
    } else if constexpr (sendable_value<result>) {
      const result value = handler();
      send_answer(
          m, answer_type<result>(), type_name<result>(),
          [](const void* v, encoder& e) { encode(e, *static_cast<const result*>(v)); }, &value);
    } else {
      static_cast<void>(handler());
      send_answer(m, ~answer_type<void>(), type_name<result>(), nullptr, nullptr);
    }
  } catch (...) {
    send_failure(m, std::current_exception());
  }
}

}  // namespace mp::detail
