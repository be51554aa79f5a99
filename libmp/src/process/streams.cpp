// The standard streams of a child. Must not hold a child's end of a pipe longer than the start takes, and must not wait
// for whoever reads ours: the I/O thread passes on.

#include "process/streams.hpp"

#include "mp/detail/async.hpp"
#include "mp/error.hpp"
#include "os/fork_guard.hpp"
#include "os/stdio_numbers.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <optional>

namespace mp::detail {
namespace {

constexpr std::size_t tail_bytes = 4096;  // enough for the last screen; it travels in every failure
// So much of one child is passed on before others have their turn: what a pipe holds.
constexpr int blocks_per_turn = 16;
// A tail is looked for in so much that is there; a child (or its children) may write without end.
constexpr std::size_t most_read_ahead = std::size_t{1} << 20;
// How long the end of this process waits for a reader of ours that takes nothing.
constexpr int reader_patience_ms = 1000;

// A write into a pipe without a reader must not kill a thread of the user's.
class no_sigpipe {
public:
  no_sigpipe() noexcept {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  no_sigpipe(const no_sigpipe&) = delete;
  no_sigpipe& operator=(const no_sigpipe&) = delete;
  ~no_sigpipe() {
    constexpr timespec now{};
    if (!was_pending_) ::sigtimedwait(&sigpipe_, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

private:
  sigset_t sigpipe_, before_;
  bool was_pending_ = false;
};

}  // namespace

// One of our own standard streams, for writes that do not wait. Its flags are the user's and stay as they are: a pipe or
// a terminal is opened once more, through /proc, as an open file description of our own.
class own_stream {
public:
  explicit own_stream(int number) : number_(number) {
    struct stat info {};
    if (::fstat(number, &info) != 0) return;
    device_ = info.st_dev;
    inode_ = info.st_ino;
    if (S_ISSOCK(info.st_mode)) {
      how_ = way::socket;
    } else if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) {
      const std::string path = "/proc/self/fd/" + std::to_string(number);
      again_.reset(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
      how_ = again_ ? way::again : way::careful;
    } else {
      how_ = way::plain;  // a file does not make anybody wait for a reader
    }
  }

  /// Does the number still mean what it meant? The user may have redirected it.
  bool is_current() const noexcept {
    struct stat info {};
    return ::fstat(number_, &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
  }
  /// What was taken; 0: there is no room now; below 0: nobody will ever read it.
  ssize_t write(const char* at, std::size_t size) noexcept {
    for (;;) {
      const ssize_t n = write_once(at, size);
      if (n > 0) return n;
      if (n == 0 || errno == EAGAIN) return 0;
      if (errno != EINTR) return -1;
    }
  }
  /// Readable when there is room again; none where that cannot be told.
  int room_fd() noexcept {
    if (!room_) {
      room_.reset(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event e{};
      e.events = EPOLLOUT;
      if (::epoll_ctl(room_.get(), EPOLL_CTL_ADD, how_ == way::again ? again_.get() : number_, &e) != 0) room_.reset();
    }
    return room_ ? room_.get() : async_operation::none;
  }
  bool wait_for_room(int milliseconds) const noexcept {
    pollfd room{how_ == way::again ? again_.get() : number_, POLLOUT, 0};
    return ::poll(&room, 1, milliseconds) == 1;
  }

private:
  enum class way { closed, plain, socket, again, careful };

  ssize_t write_once(const char* at, std::size_t size) noexcept {
    switch (how_) {
      case way::closed: errno = EBADF; return -1;
      case way::plain: return ::write(number_, at, size);
      case way::socket: return ::send(number_, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
      case way::again: return ::write(again_.get(), at, size);
      case way::careful: break;
    }
    // It cannot be opened again (another user's terminal, no /proc): so much fits where poll says that something does.
    pollfd room{number_, POLLOUT, 0};
    if (::poll(&room, 1, 0) != 1) return 0;
    if ((room.revents & POLLOUT) == 0) return errno = EPIPE, -1;
    return ::write(number_, at, std::min<std::size_t>(size, PIPE_BUF));
  }

  const int number_;
  way how_ = way::closed;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  unique_fd again_;
  unique_fd room_;
};

/// Invariants (guarded by mutex_): (1) what came is in unpassed_ until it was passed on; (2) nothing more is read by
/// pump() while unpassed_ is not empty: the child waits, as it would if it wrote to our stream itself.
class output_capture {
public:
  output_capture(unique_fd from, int to) : from_(std::move(from)), to_(to) {}

  // Passes on for one turn, without waiting. False: nothing can come any more.
  bool pump() {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < blocks_per_turn; ++i) {
      if (!pass_on()) return true;
      if (has_ended_) return false;
      if (!read_block()) return !has_ended_;
    }
    return true;
  }

  // For the end of this process, when nobody else pumps: waits for a reader of ours as long as it takes anything.
  void pump_to_end() {
    const std::lock_guard lock(mutex_);
    for (std::size_t count = 0; count < most_read_ahead / block_bytes; ++count) {
      while (!pass_on())
        if (!stream_->wait_for_room(reader_patience_ms)) return;
      if (has_ended_ || !read_block()) return;
    }
  }

  // After pump() gave true.
  int what_to_poll() {
    const std::lock_guard lock(mutex_);
    return stream_ ? stream_->room_fd() : from_.get();
  }

  // Reads what is there first. What our stream does not take at once, the I/O thread passes on later.
  std::string tail() {
    const std::lock_guard lock(mutex_);
    while (unpassed_.size() < most_read_ahead && read_block()) {
    }
    pass_on();
    return tail_.size() <= tail_bytes ? tail_ : tail_.substr(tail_.size() - tail_bytes);
  }

private:
  static constexpr std::size_t block_bytes = 4096;

  // All of these assume the lock. False: nothing is there now, or its end (has_ended_).
  bool read_block() {
    char block[block_bytes];
    ssize_t got;
    do {
      got = ::read(from_.get(), block, sizeof block);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
      has_ended_ = has_ended_ || got == 0 || errno != EAGAIN;
      return false;
    }
    unpassed_.append(block, static_cast<std::size_t>(got));
    tail_.append(block, static_cast<std::size_t>(got));
    if (tail_.size() > 2 * tail_bytes) tail_.erase(0, tail_.size() - tail_bytes);
    return true;
  }

  // False: our stream has no room; stream_ is there as long as that is so.
  bool pass_on() {
    if (unpassed_.empty()) return true;
    if (stream_ && !stream_->is_current()) stream_.reset();
    if (!stream_) stream_.emplace(to_);
    const no_sigpipe guard;
    std::size_t done = 0;
    ssize_t n = 1;
    while (done < unpassed_.size() && n > 0) {
      n = stream_->write(unpassed_.data() + done, unpassed_.size() - done);
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    if (n < 0) done = unpassed_.size();  // nobody reads ours: the tail is still kept
    unpassed_.erase(0, done);
    if (!unpassed_.empty()) return false;
    stream_.reset();
    return true;
  }

  const os::guarded_fd from_;  // a copy that fork makes of us must not keep the writer from its end
  const int to_;
  std::mutex mutex_;
  std::string tail_, unpassed_;
  bool has_ended_ = false;
  std::optional<own_stream> stream_;
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
  int prepare() noexcept override { return capture_->what_to_poll(); }
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
void pass_on(output_capture& capture) { capture.pump_to_end(); }

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
