// What children write to captured streams, while our own stream takes nothing or they write without end: nobody else is
// held up.

#include "process_support.hpp"

#include "mp/queue.hpp"

#include <fcntl.h>
#include <signal.h>
#include <boost/asio/use_future.hpp>
#include <future>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using namespace mp_test;

namespace {

// Our stderr as a pipe that this test reads. The stream comes back with the destructor, which also lets a blocked write
// go on.
class stderr_pipe {
public:
  stderr_pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read_ = mp::unique_fd(ends[0]);
    write_ = mp::unique_fd(ends[1]);
    REQUIRE(::fcntl(read_.get(), F_SETFL, O_NONBLOCK) == 0);
    before_ = mp::unique_fd(::fcntl(2, F_DUPFD_CLOEXEC, 3));
    ::dup2(write_.get(), 2);
  }
  stderr_pipe(const stderr_pipe&) = delete;
  stderr_pipe& operator=(const stderr_pipe&) = delete;
  ~stderr_pipe() {
    ::dup2(before_.get(), 2);
    write_.reset();
    take();
  }

  // Through a description of its own: ours stays one that blocks.
  void fill() {
    const std::string path = "/proc/self/fd/" + std::to_string(write_.get());
    const mp::unique_fd again(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    REQUIRE(again);
    const std::string block(4096, '.');
    while (::write(again.get(), block.data(), block.size()) > 0) {
    }
  }
  const std::string& take() {
    char block[8192];
    for (ssize_t n; (n = ::read(read_.get(), block, sizeof block)) > 0;)
      taken_.append(block, static_cast<std::size_t>(n));
    return taken_;
  }

private:
  mp::unique_fd read_, write_, before_;
  std::string taken_;
};

bool io_thread_answers() {
  mp::queue<int> q({.transport = mp::transport::local});
  auto got = q.async_get(mp::asio::use_future);
  q.put(1);
  return got.wait_for(patience) == std::future_status::ready;
}

}  // namespace

TEST_CASE("process: captured output waits for our full stderr, and the I/O thread, join and failure do not",
          "[process]") {
  warm_up();
  REQUIRE(io_thread_answers());
  const fd_ledger ledger;
  {
    stderr_pipe ours;
    ours.fill();
    const int flags = ::fcntl(2, F_GETFL);
    mp::process p({.err = mp::stdio::capture()}, [] {
      std::cerr << std::string(30'000, 'x') << "last words\n";
      throw std::runtime_error("the end");
    });
    p.start();
    const auto status = p.join_for(long_patience);
    CHECK(status.has_value());
    CHECK(io_thread_answers());
    if (status) {
      auto failure = std::async(std::launch::async, [&] { return p.failure(); });
      const bool came = failure.wait_for(patience) == std::future_status::ready;
      CHECK(came);
      const auto f = failure.get();
      REQUIRE(f.has_value());
      CHECK(f->stderr_tail.find("last words") != std::string::npos);
    }
    CHECK(eventually([&] { return ours.take().find(std::string(30'000, 'x') + "last words") != std::string::npos; }));
    CHECK(::fcntl(2, F_GETFL) == flags);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: a child that writes captured output without end does not keep the I/O thread for itself",
          "[process]") {
  warm_up();
  REQUIRE(io_thread_answers());
  const fd_ledger ledger;
  {
    const mp::unique_fd before(::fcntl(1, F_DUPFD_CLOEXEC, 3));
    const mp::unique_fd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ::dup2(nowhere.get(), 1);
    mp::process p({.out = mp::stdio::capture()}, [] {
      const auto flood = [] {
        const std::string block(65536, 'x');
        while (::write(1, block.data(), block.size()) > 0) {
        }
      };
      const std::jthread one(flood), two(flood);
      flood();
    });
    p.start();
    const bool answered = io_thread_answers();
    const bool runs = !p.join_for(mp::duration()).has_value();
    p.kill();
    const auto status = p.join_for(long_patience);
    ::dup2(before.get(), 1);
    CHECK(answered);
    CHECK(runs);
    REQUIRE(status.has_value());
    CHECK(status->signal() == SIGKILL);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: captured output for a stream that nobody reads any more is dropped, and kills nobody",
          "[process]") {
  const mp::unique_fd before(::fcntl(2, F_DUPFD_CLOEXEC, 3));
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  ::close(ends[0]);
  ::dup2(ends[1], 2);
  ::close(ends[1]);
  mp::process p({.err = mp::stdio::capture()}, [] {
    std::cerr << "last words\n";
    throw std::runtime_error("the end");
  });
  p.start();
  const auto status = p.join_for(long_patience);
  const auto failure = p.failure();
  ::dup2(before.get(), 2);
  REQUIRE(status.has_value());
  REQUIRE(failure.has_value());
  CHECK(failure->stderr_tail.find("last words") != std::string::npos);
}
