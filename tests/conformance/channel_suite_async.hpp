#pragma once
// The suite's async forms.

#include "conformance/channel_suite.hpp"

#include <future>
#include <memory>

namespace conformance {

TEST_CASE("queue: async_get completes a callback with the item that comes later", "[queue][async][conformance]") {
  auto q = make_queue<std::string>();
  auto [done_in, done] = mp::pipe<std::string>({.transport = mp::transport::local});
  q.async_get([s = std::move(done)](mp::error_code ec, std::string v) { s.put(ec ? ec.message() : v); });
  q.put("later");
  CHECK(done_in.get_for(patience) == "later");
}

TEST_CASE("queue: async_put waits for room without a thread", "[queue][async][conformance]") {
  auto q = make_queue<int>(bounded(1));
  q.put(1);
  auto [done_in, done] = mp::pipe<bool>({.transport = mp::transport::local});
  q.async_put(2, [s = std::move(done)](mp::error_code ec) { s.put(!ec); });
  CHECK(done_in.try_get() == std::nullopt);
  CHECK(q.get() == 1);
  CHECK(q.get_for(patience) == 2);
  CHECK(done_in.get_for(patience) == true);
}

// Done when the I/O thread has looked twice at everything that waits.
struct two_looks final : mp::detail::async_operation {
  std::promise<void> done;
  int left = 4;  // when it is added, when its group begins, and at two sweeps
  bool try_finish() noexcept override {
    if (--left != 0) return false;
    done.set_value();
    return true;
  }
  int prepare() noexcept override { return none; }
  void abort(const mp::error_code&) noexcept override {}
};
inline void until_all_was_looked_at_twice() {
  const auto looks = std::make_shared<two_looks>();
  auto done = looks->done.get_future();
  mp::detail::start_operation(looks);
  REQUIRE(done.wait_for(patience) == std::future_status::ready);
}

template <class Sender, class Receiver>
void check_async_puts_keep_their_order(const Sender& out, const Receiver& in, std::size_t large) {
  int before = 0;
  while (out.try_put(std::string(large, 'a'))) ++before;
  REQUIRE(before > 0);
  auto [done_in, done] = mp::pipe<std::string>({.transport = mp::transport::local});
  const auto told = std::make_shared<mp::sender<std::string>>(std::move(done));
  out.async_put(std::string(large, 'b'), [told](mp::error_code ec) { told->put(ec ? ec.message() : "large"); });
  out.async_put("small", [told](mp::error_code ec) { told->put(ec ? ec.message() : "small"); });
  until_all_was_looked_at_twice();
  CHECK(done_in.try_get() == std::nullopt);

  for (int i = 0; i < before; ++i) CHECK((in.get_for(patience) == std::string(large, 'a')));
  CHECK((in.get_for(patience) == std::string(large, 'b')));
  CHECK(in.get_for(patience) == "small");
  CHECK(done_in.get_for(patience) == "large");
  CHECK(done_in.get_for(patience) == "small");
}

TEST_CASE("queue: a small async put behind a large one that finds no room waits, too", "[queue][async][conformance]") {
  const auto q = make_queue<std::string>({.max_bytes = 256 * 1024});
  const auto keeps_gets_open = q.sender();
  const auto keeps_puts_open = q.receiver();
  check_async_puts_keep_their_order(q, q, 200'000);
  if constexpr (can.travel) {
    auto [in, out] = mp::pipe<mp::queue<std::string>>();
    out.put(q);
    check_async_puts_keep_their_order(in.get(), q, 200'000);
  }
}

TEST_CASE("pipe: a small async put behind a large one that finds no room waits, too", "[pipe][async][conformance]") {
  auto [in, out] = make_pipe<std::string>({.max_bytes = 1 << 20});
  check_async_puts_keep_their_order(out, in, 50'000);
}

TEST_CASE("queue: an async put for which nobody is left ends, also behind one that waits",
          "[queue][async][conformance]") {
  if constexpr (can.travel) {
    auto q = make_queue<int>(bounded(1));
    q.put(1);
    {
      // From now on it ends by itself.
      auto [in, out] = mp::pipe<mp::receiver<int>>();
      out.put(q.receiver());
      static_cast<void>(in.get());
    }
    auto [done_in, done] = mp::pipe<std::string>({.transport = mp::transport::local});
    const auto told = std::make_shared<mp::sender<std::string>>(std::move(done));
    const auto tell = [&](const std::string& who) {
      return [told, who](mp::error_code ec) { told->put(who + (ec ? " ends" : " is done")); };
    };
    q.sender().async_put(2, tell("a sender's"));  // the whole handle could still get
    q.async_put(3, tell("its own"));
    CHECK(done_in.get_for(patience) == "its own ends");
    CHECK(q.get_for(patience) == 1);
    CHECK(q.get_for(patience) == 2);
    CHECK(done_in.get_for(patience) == "a sender's is done");
  }
}

TEST_CASE("pipe: async_get completes with closed when the sender leaves", "[pipe][async][conformance]") {
  auto [in, out] = make_pipe<int>();
  auto [done_in, done] = mp::pipe<bool>({.transport = mp::transport::local});
  in.async_get([s = std::move(done)](mp::error_code ec, int) { s.put(ec == mp::errc::closed); });
  out.close();
  CHECK(done_in.get_for(patience) == true);
}

}  // namespace conformance
