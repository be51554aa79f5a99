// Raw children for tests. Must not use the library under test for anything but owning descriptors.

#include "support/child.hpp"

#include "support/patience.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <tuple>
#include <utility>

extern char** environ;

namespace mp_test {
namespace {

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

int milliseconds_until(std::chrono::steady_clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
  return left.count() < 0 ? 0 : static_cast<int>(left.count());
}

/// One poll that EINTR does not shorten.
int poll_until(pollfd* fds, nfds_t count, std::chrono::steady_clock::time_point end) {
  for (;;) {
    const int n = ::poll(fds, count, milliseconds_until(end));
    if (n >= 0 || errno != EINTR) return n;
  }
}

std::pair<mp::unique_fd, mp::unique_fd> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  return {mp::unique_fd(fds[0]), mp::unique_fd(fds[1])};
}

}  // namespace

outcome run_program(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
                    int seconds) {
  auto [out_read, out_write] = make_pipe();
  auto [err_read, err_write] = make_pipe();

  std::vector<std::string> variables;
  for (char** v = environ; *v; ++v) {
    const std::string text(*v);
    if (!environment.contains(text.substr(0, text.find('=')))) variables.push_back(text);
  }
  for (const auto& [key, value] : environment) variables.push_back(key + "=" + value);
  std::vector<char*> argv, envp;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  for (const auto& variable : variables) envp.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, err_write.get(), 2);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed) throw std::runtime_error("cannot run " + command.at(0));
  out_write.reset();
  err_write.reset();

  outcome result;
  const mp::unique_fd pidfd(open_pidfd(pid));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  pollfd fds[3] = {{out_read.get(), POLLIN, 0}, {err_read.get(), POLLIN, 0}, {pidfd.get(), POLLIN, 0}};
  std::string* texts[2] = {&result.out, &result.err};
  // A grandchild may keep the pipes open: the program's end counts, after what is in the pipes by then.
  for (bool ended = false; !ended;) {
    if (poll_until(fds, 3, end) == 0) {
      result.late = true;
      ::kill(pid, SIGKILL);
      break;
    }
    ended = fds[2].revents != 0;
    for (int i = 0; i < 2; ++i) {
      bool more = fds[i].fd >= 0 && fds[i].revents != 0;
      while (more) {
        char bytes[65536];
        const ssize_t n = ::read(fds[i].fd, bytes, sizeof bytes);
        if (n > 0)
          texts[i]->append(bytes, static_cast<std::size_t>(n));
        else if (n == 0)
          fds[i].fd = -1;
        pollfd again{fds[i].fd, POLLIN, 0};
        more = n > 0 && ended && ::poll(&again, 1, 0) == 1;
      }
    }
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

std::string program_path(const std::string& name) {
  std::string key = "MP_TEST_";
  for (const char c : name) key += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const char* path = std::getenv(key.c_str());
  if (!path) throw std::runtime_error(key + " is not set: run the tests with meson test");
  return path;
}

forked_child::forked_child(const std::function<int()>& body) {
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ == 0) ::_exit(body());
  pidfd_ = mp::unique_fd(open_pidfd(pid_));
}

forked_child::~forked_child() {
  if (status_) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void forked_child::kill(int signal) const { ::kill(pid_, signal); }

std::optional<int> forked_child::wait() {
  if (status_) return status_;
  if (!readable(pidfd_.get())) return std::nullopt;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0)
    if (errno != EINTR) return std::nullopt;
  return status_ = status;
}

fact_pipe::fact_pipe() { std::tie(read_, write_) = make_pipe(); }

void fact_pipe::tell(char fact) const {
  while (::write(write_.get(), &fact, 1) < 0 && errno == EINTR) {
  }
}

std::optional<char> fact_pipe::hear() const {
  if (!readable(read_.get())) return std::nullopt;
  char fact = 0;
  ssize_t n;
  do n = ::read(read_.get(), &fact, 1);
  while (n < 0 && errno == EINTR);
  return n == 1 ? std::optional(fact) : std::nullopt;
}

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return poll_until(&p, 1, std::chrono::steady_clock::now() + patience) == 1;
}

}  // namespace mp_test
