#pragma once
// The suite's second half: how channels end, what travels, misuse.

#include "conformance/channel_suite_async.hpp"

#include <atomic>

namespace conformance {

// ---- the end

TEST_CASE("pipe: after its sender left, what is there comes out, then closed", "[pipe][conformance]") {
  auto [in, out] = make_pipe<int>();
  out.put(1);
  out.put(2);
  out.close();
  CHECK(in.get() == 1);
  CHECK(in.try_get() == 2);
  CHECK_ERRC(in.try_get(), closed);
  CHECK_ERRC(in.get_for(1h), closed);
  CHECK_ERRC(in.get(), closed);
  CHECK_ERRC(out.put(3), closed);
}

TEST_CASE("pipe: a put throws closed when its receiver left", "[pipe][conformance]") {
  auto [in, out] = make_pipe<int>();
  in.close();
  CHECK_ERRC(out.put(1), closed);
  CHECK_ERRC(out.try_put(1), closed);
}

TEST_CASE("pipe: a put that waits for room ends when the receiver leaves", "[pipe][conformance]") {
  auto ends = make_pipe<int>({.maxsize = 1});
  ends.sender.put(1);
  std::jthread other([in = std::move(ends.receiver)]() mutable { in.close(); });
  CHECK_ERRC(ends.sender.put(2), closed);
}

TEST_CASE("pipe: a range-for sees every item and ends when the sender left", "[pipe][conformance]") {
  auto [in, out] = make_pipe<int>();
  std::size_t put = 0;
  std::jthread producer([&put, s = std::move(out)] { put = s.put_many(std::vector{1, 2, 3}); });
  std::vector<int> seen;
  for (const int v : in) seen.push_back(v);
  producer.join();
  CHECK(put == 3);
  CHECK(seen == std::vector{1, 2, 3});
}

TEST_CASE("queue: threads that share a whole queue wait on, it does not end by itself", "[queue][conformance]") {
  auto q = make_queue<int>();
  CHECK(q.get_for(1ms) == std::nullopt);
  auto copy = q;
  q.close();
  CHECK(copy.get_for(1ms) == std::nullopt);
  CHECK_ERRC(q.get(), closed);
}

TEST_CASE("queue: receivers get closed once the last sender and whole handle left", "[queue][conformance]") {
  auto q = make_queue<int>();
  auto s = q.sender();
  auto r = q.receiver();
  q.close();
  s.put(1);
  CHECK(r.get() == 1);
  CHECK(r.try_get() == std::nullopt);
  s.close();
  CHECK_ERRC(r.get(), closed);
}

TEST_CASE("queue: a get that waits ends when the last sender leaves", "[queue][conformance]") {
  auto q = make_queue<int>();
  auto r = q.receiver();
  std::jthread other([s = q.sender()]() mutable { s.close(); });
  q.close();
  CHECK_ERRC(r.get(), closed);
}

TEST_CASE("queue: after close_sender it gets, puts throw closed, and it ends", "[queue][conformance]") {
  auto q = make_queue<int>();
  q.put(1);
  q.close_sender();
  auto copy = q;
  CHECK_ERRC(q.put(2), closed);
  CHECK_ERRC(copy.put(2), closed);
  CHECK_ERRC(q.sender(), closed);
  CHECK(copy.get() == 1);
  CHECK_ERRC(q.get(), closed);
}

TEST_CASE("queue: a sender's puts end with closed when nobody is left who could get", "[queue][conformance]") {
  auto q = make_queue<int>(bounded(10000));
  auto s = q.sender();
  q.close();
  // Room may take some before it is asked who is left; they do not wait and do not go on for ever.
  CHECK_ERRC(
      [&] {
        for (int i = 0; i <= 10000; ++i) s.put(i);
      }(),
      closed);
}

TEST_CASE("queue: after shutdown puts throw closed, gets drain, then throw closed", "[queue][conformance]") {
  auto q = make_queue<int>();
  q.put(1);
  q.put(2);
  q.shutdown();
  CHECK_ERRC(q.put(3), closed);
  CHECK(q.get() == 1);
  CHECK(q.get_many(8) == std::vector{2});
  CHECK_ERRC(q.get(), closed);
  CHECK_ERRC(q.try_get_many(8), closed);
}

TEST_CASE("queue: shutdown ends gets and puts that wait", "[queue][conformance]") {
  auto empty = make_queue<int>();
  auto full = make_queue<int>(bounded(1));
  full.put(1);
  std::optional<mp::errc> get_end, put_end;
  {
    std::jthread getter([&] { get_end = mp_test::errc_of([&] { return empty.get(); }); });
    std::jthread putter([&] { put_end = mp_test::errc_of([&] { return full.put(2), 0; }); });
    empty.shutdown();
    full.shutdown();
  }
  CHECK(get_end == mp::errc::closed);
  CHECK(put_end == mp::errc::closed);
}

// ---- joinable

TEST_CASE("joinable_queue: join waits until every item put is done", "[queue][conformance]") {
  mp::joinable_queue<int> q(mp::queue_options{.transport = tested});
  q.join();
  for (int i = 0; i < 3; ++i) q.put(i);
  CHECK_FALSE(q.join_for(1ms));
  for (int i = 0; i < 3; ++i) {
    CHECK(q.get() == i);
    CHECK_FALSE(q.join_for(0ms));
    q.task_done();
  }
  CHECK(q.join_for(patience));
  CHECK_ERRC(q.task_done(), invalid_argument);
}

TEST_CASE("joinable_queue: a join that waits ends with the last task_done", "[queue][conformance]") {
  mp::joinable_queue<int> q(mp::queue_options{.transport = tested});
  for (int i = 0; i < 100; ++i) q.put(i);
  std::jthread worker([q] {
    for (int i = 0; i < 100; ++i) {
      static_cast<void>(q.get());
      q.task_done();
    }
  });
  q.join();
  CHECK(q.empty());
}

// ---- descriptors and handles

TEST_CASE("pipe: a descriptor travels with its message and is given away", "[pipe][conformance]") {
  const mp_test::fd_ledger ledger;
  {
    auto [in, out] = make_pipe<std::pair<std::string, mp::unique_fd>>();
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const mp::unique_fd read_end(ends[0]);
    std::pair<std::string, mp::unique_fd> message{"fd", mp::unique_fd(ends[1])};
    out.put(std::move(message));
    CHECK_FALSE(message.second);
    {
      auto got = in.get();
      CHECK(got.first == "fd");
      REQUIRE(::write(got.second.get(), "x", 1) == 1);
      CHECK((::fcntl(got.second.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
    char byte = 0;
    CHECK(::read(read_end.get(), &byte, 1) == 1);
    CHECK(::read(read_end.get(), &byte, 1) == 0);  // nobody else holds the write end
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("queue: a put that fails leaves the descriptor with its owner", "[queue][conformance]") {
  auto q = make_queue<mp::unique_fd>(bounded(1));
  mp::unique_fd fd(::dup(0));
  mp::unique_fd other(::dup(0));
  q.put(std::move(fd));
  CHECK_FALSE(q.try_put(std::move(other)));
  CHECK(other);
  q.shutdown();
  CHECK_ERRC(q.put(std::move(other)), closed);
  CHECK(other);
}

TEST_CASE("pipe: an end whose own sending failed still leaves in order", "[pipe][conformance]") {
  if constexpr (can.travel) {
    auto full = make_pipe<mp::sender<int>>({.maxsize = 1});
    full.sender.put(make_pipe<int>().sender);
    auto [in, out] = make_pipe<int>();
    CHECK_FALSE(full.sender.try_put(std::move(out)));
    CHECK_FALSE(full.sender.put_for(std::move(out), 1ms));
    out.put(1);
    out.close();
    CHECK(in.get() == 1);
    CHECK_ERRC(in.get(), closed);

    auto no_reader = make_pipe<mp::receiver<int>>();
    no_reader.receiver.close();
    auto ends = make_pipe<int>({.maxsize = 1});
    CHECK_ERRC(no_reader.sender.put(std::move(ends.receiver)), closed);
    ends.sender.put(1);
    ends.receiver.close();
    CHECK_ERRC(ends.sender.put(2), closed);
  }
}

TEST_CASE("channel: handles of it travel exactly if the table says so", "[conformance][table]") {
  auto [in, out] = mp::pipe<mp::sender<int>>();  // carried by the default transport
  auto inner = make_pipe<int>();
  if constexpr (can.travel) {
    out.put(std::move(inner.sender));
    CHECK_ERRC(inner.sender.put(1), closed);
    {
      auto s = in.get();
      s.put(5);
      CHECK(inner.receiver.get() == 5);
    }
    CHECK_ERRC(inner.receiver.get(), closed);
  } else {
    CHECK_ERRC(out.put(std::move(inner.sender)), invalid_argument);
    inner.sender.put(5);
    CHECK(inner.receiver.get() == 5);
  }
}

TEST_CASE("queue: a handle on its way counts as one who could put", "[queue][conformance]") {
  if constexpr (can.travel) {
    auto q = make_queue<int>();
    auto r = q.receiver();
    auto [in, out] = mp::pipe<mp::sender<int>>();
    out.put(q.sender());
    q.close();
    CHECK(r.get_for(1ms) == std::nullopt);
    in.get().put(3);
    CHECK(r.get() == 3);
    CHECK_ERRC(r.get(), closed);
  }
}

TEST_CASE("channel: a handle of another item type is refused as type_mismatch", "[conformance]") {
  if constexpr (can.travel) {
    auto [in, out] = mp::pipe<std::vector<std::byte>>();
    auto q = make_queue<int>();
    const auto message = mp::detail::encode_to_buffer(q);
    std::vector<mp::unique_fd> fds;
    for (const auto& fd : message.fds) fds.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    mp::detail::decoder d(message.bytes, std::move(fds));
    CHECK_ERRC(mp::detail::decode<mp::queue<double>>(d), type_mismatch);
  }
}

// Looks again and again from another thread, at least once before `close` and until it sees an end.
template <class Look, class Close>
std::optional<mp::errc> end_seen_by_thread(Look look, Close close) {
  std::optional<mp::errc> seen;
  std::atomic<bool> has_looked = false;
  {
    std::jthread other([&] {
      while (!seen) {
        seen = mp_test::errc_of(look);
        has_looked = true;
      }
    });
    while (!has_looked) std::this_thread::yield();
    close();
  }
  return seen;
}

TEST_CASE("pipe: a thread that looks at the moment the other end is closed finds it closed, not dead",
          "[pipe][conformance]") {
  for (int round = 0; round < 200; ++round) {
    auto [in, out] = make_pipe<int>();
    REQUIRE(end_seen_by_thread([&r = in] { return r.try_get(); }, [&s = out] { s.close(); }) == mp::errc::closed);
    auto [full_in, full_out] = make_pipe<int>({.maxsize = 1});
    full_out.put(1);
    REQUIRE(end_seen_by_thread([&s = full_out] { return s.try_put(2); }, [&r = full_in] { r.close(); }) ==
            mp::errc::closed);
  }
}

// ---- misuse

TEST_CASE("channel: negative counts throw invalid_argument", "[conformance]") {
  CHECK_ERRC(make_queue<int>(bounded(-1)), invalid_argument);
  CHECK_ERRC(make_pipe<int>({.maxsize = -1}), invalid_argument);
  auto q = make_queue<int>();
  CHECK_ERRC(q.get_many(-1), invalid_argument);
  CHECK(q.get_many(0).empty());
}

TEST_CASE("channel: closed, moved-from and default-constructed handles throw closed", "[conformance]") {
  auto [in, out] = make_pipe<int>();
  const auto moved = std::move(out);
  CHECK_ERRC(out.put(1), closed);
  CHECK_ERRC(mp::receiver<int>().get(), closed);
  CHECK_ERRC(mp::sender<int>().put(1), closed);
  auto q = make_queue<int>();
  q.close();
  q.close();
  CHECK_ERRC(q.put(1), closed);
  CHECK_ERRC(q.size(), closed);
  CHECK_ERRC(q.receiver(), closed);
  CHECK_ERRC(q.shutdown(), closed);
}

TEST_CASE("channel: a handle used in a raw forked copy throws wrong_process", "[conformance]") {
  auto q = make_queue<int>();
  q.put(1);
  mp_test::forked_child child(
      [&] { return mp_test::errc_of([&] { return q.try_get(); }) == mp::errc::wrong_process ? 7 : 1; });
  const auto status = child.wait();
  REQUIRE(status.has_value());
  CHECK(WEXITSTATUS(*status) == 7);
  CHECK(q.get() == 1);
}

TEST_CASE("channel: everything is given back when its handles are gone", "[conformance]") {
  const mp_test::fd_ledger ledger;
  for (int i = 0; i < 8; ++i) {
    auto q = make_queue<std::string>();
    q.put(std::string(100000, 'x'));
    auto [in, out] = make_pipe<std::string>();
    out.put("left behind");
  }
  CHECK_CLEAN(ledger);
}

}  // namespace conformance
