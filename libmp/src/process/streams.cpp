// The standard streams of a child. Must not hold a child's end of a pipe longer than the start takes.

#include "process/streams.hpp"

#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "os/stdio_numbers.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <cerrno>
#include <mutex>

namespace mp::detail {
namespace {

constexpr std::size_t tail_bytes = 4096;  // enough for the last screen; it travels in every failure

}  // namespace

class output_capture {
public:
  output_capture(unique_fd from, int to) : from_(std::move(from)), to_(to) {}

  int source() const noexcept { return from_.get(); }

  // False: nothing can come any more.
  bool pump() {
    const std::lock_guard lock(mutex_);
    char block[4096];
    for (;;) {
      const ssize_t got = ::read(from_.get(), block, sizeof block);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno == EAGAIN;
      if (got == 0) return false;
      const auto size = static_cast<std::size_t>(got);
      pass_on(block, size);
      tail_.append(block, size);
      if (tail_.size() > 2 * tail_bytes) tail_.erase(0, tail_.size() - tail_bytes);
    }
  }

  std::string tail() {
    pump();
    const std::lock_guard lock(mutex_);
    return tail_.size() <= tail_bytes ? tail_ : tail_.substr(tail_.size() - tail_bytes);
  }

private:
  void pass_on(const char* at, std::size_t left) noexcept {
    while (left > 0) {
      const ssize_t n = ::write(to_, at, left);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) {
        pollfd room{to_, POLLOUT, 0};
        ::poll(&room, 1, 1000);
        continue;
      }
      if (n <= 0) return;  // nobody reads ours: the tail is still kept
      at += n;
      left -= static_cast<std::size_t>(n);
    }
  }

  const unique_fd from_;
  const int to_;
  std::mutex mutex_;
  std::string tail_;
};

namespace {

class pump_operation final : public async_operation {
public:
  explicit pump_operation(std::shared_ptr<output_capture> capture) : capture_(std::move(capture)) {}
  bool try_finish() noexcept override {
    try {
      return !capture_->pump();
    } catch (...) {
      return false;  // no memory for the tail: later
    }
  }
  int prepare() noexcept override { return capture_->source(); }
  void abort(const error_code&) noexcept override {}

private:
  const std::shared_ptr<output_capture> capture_;
};

constexpr std::array names{"in", "out", "err"};

struct pipe_ends {
  unique_fd read, write;
};
pipe_ends make_pipe() {
  int raw[2];
  if (::pipe2(raw, O_CLOEXEC) != 0) throw_system_error(errc::out_of_resources, "cannot make a pipe for a child", errno);
  pipe_ends ends{unique_fd(raw[0]), unique_fd(raw[1])};
  ends.read = os::above_stdio(std::move(ends.read));
  ends.write = os::above_stdio(std::move(ends.write));
  return ends;
}

unique_fd open_or_throw(const char* path, int flags) {
  unique_fd fd(::open(path, flags | O_CLOEXEC, 0666));
  if (!fd) throw_system_error(errc::start_failed, std::string("cannot open ") + path + " for a child", errno);
  return os::above_stdio(std::move(fd));
}

void make_stream(std::size_t i, const stdio& wanted, child_streams& all) {
  const bool is_input = i == 0;
  switch (wanted.what()) {
    case stdio::kind::inherit:
      // A stream of ours that is closed: the child must not get some other file under its number.
      if (::fcntl(static_cast<int>(i), F_GETFD) < 0) all.theirs[i] = open_or_throw("/dev/null", O_RDWR);
      break;
    case stdio::kind::null: all.theirs[i] = open_or_throw("/dev/null", O_RDWR); break;
    case stdio::kind::file: {
      const int how = is_input ? O_RDONLY : O_WRONLY | O_CREAT | (wanted.append() ? O_APPEND : O_TRUNC);
      all.theirs[i] = open_or_throw(wanted.path().c_str(), how);
      break;
    }
    case stdio::kind::fd:
      all.theirs[i] = unique_fd(::fcntl(wanted.number(), F_DUPFD_CLOEXEC, 3));
      if (!all.theirs[i])
        throw_system_error(errno == EBADF ? errc::invalid_argument : errc::out_of_resources,
                           std::string("descriptor ") + std::to_string(wanted.number()) + " for " + names[i], errno);
      break;
    case stdio::kind::pipe:
    case stdio::kind::capture: {
      auto ends = make_pipe();
      if (is_input) {
        if (wanted.what() == stdio::kind::capture)
          throw_error(errc::invalid_argument, "stdio::capture() is for out and err, not for in");
        all.theirs[i] = std::move(ends.read);
        all.ours[i] = std::move(ends.write);
      } else {
        all.theirs[i] = std::move(ends.write);
        if (wanted.what() == stdio::kind::pipe) {
          all.ours[i] = std::move(ends.read);
        } else {
          ::fcntl(ends.read.get(), F_SETFL, O_NONBLOCK);
          all.captures[i] = std::make_shared<output_capture>(std::move(ends.read), static_cast<int>(i));
        }
      }
      break;
    }
  }
}

}  // namespace

std::string tail_of(output_capture& capture) { return capture.tail(); }

child_streams make_streams(const process_options& options, bool has_empty_stdin) {
  child_streams all;
  if (!has_empty_stdin || options.in.what() != stdio::kind::null) make_stream(0, options.in, all);
  make_stream(1, options.out, all);
  make_stream(2, options.err, all);
  return all;
}

void start_captures(const child_streams& streams) {
  for (const auto& capture : streams.captures)
    if (capture) start_operation(std::make_shared<pump_operation>(capture));
}

}  // namespace mp::detail
