#pragma once
/// @file
/// A started child as its parent sees it: two descriptors, what it said, how it ended.
///
/// Shape:    everything about it comes through its control socket, in order: what the child sends, then, from the fork
///           server, its status. The pidfd tells that it has ended when nobody is left to say so.
/// Threads:  thread-safe.            Processes: process-bound.
/// Death:    sources of a status, in this order: our own wait, the fork server's report, the zombie, the kernel's
///           memory behind the pidfd, else unknown. Never invented.
/// Source:   doc/decisions/0001-start-methods.md; MEASURED E5, E20.

#include "mp/duration.hpp"
#include "mp/exit_status.hpp"
#include "mp/failure.hpp"
#include "os/control.hpp"
#include "os/fork_guard.hpp"
#include "os/pidfd.hpp"

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace mp::detail {

class zygote_link;
class output_capture;

/// Who a child is; what its starter knows.
struct child_identity {
  pid_t pid = 0;
  std::string name;
  bool daemon = false;
  bool takes_stop = false;  // its function asks for a stop token
  bool forked = false;      // from us, by fork()
};

class child {
public:
  /// `zygote`: the fork server that will report; null: the child is our own.
  child(child_identity who, unique_fd pidfd, unique_fd control, std::shared_ptr<zygote_link> zygote);
  ~child();

  const child_identity& who() const noexcept { return who_; }
  int pidfd() const noexcept { return pidfd_.get(); }
  /// Readable when its end may be known: where the fork server's report comes, else the pidfd. A stopped server reports
  /// nothing: who polls this looks at wait(time_point::min()) now and then.
  int end_fd() noexcept;
  /// Somebody else reaps it.
  bool has_server() const noexcept { return zygote_ != nullptr; }
  std::uint64_t made_in() const noexcept { return made_in_; }

  /// How it ended; nullopt if it has not by `until` (time_point::min(): just look).
  std::optional<os::ended> wait(time_point until);
  /// wait(time_point::min()) without ever waiting for the fork server's report.
  bool is_known_to_have_ended();
  /// What its function threw or how it crashed, once it has ended.
  std::optional<mp::failure> failure();

  /// 0 or errno. A child that has ended gets nothing.
  int signal(int number) noexcept;
  /// Sends a message to it. 0 or errno.
  int send(os::control_kind kind, std::span<const std::byte> body, std::span<const int> fds, time_point until);

  /// For the starter, before anybody else knows the child: its next message that is not a status.
  /// ok, ended (it ended, or said nothing by `until` or until `give_up` is readable: ask wait), broken.
  os::control_status next_message(os::control_message& message, time_point until, int give_up);

  using captures = std::array<std::shared_ptr<output_capture>, 3>;
  void set_captures(captures);
  /// Passes on what it has written to captured streams. False: none is captured.
  bool pass_on_output();
  /// What the child wrote to stderr last, where it is captured.
  std::string stderr_tail();
  /// In a forked child: forgets without touching what is the parent's.
  void abandon() noexcept;

private:
  // The three below: guarded by mutex_.
  bool drain();                              // reads what is there; true: the status is known
  void note(os::control_message&& message);  // one message
  bool ask_elsewhere();                      // every source but the report; true: the status is known

  std::optional<os::ended> locked_end();
  bool settle();  // the child has ended: finds its status; false: the fork server still has to report

  const child_identity who_;
  const std::uint64_t made_in_;
  // Set once and open until destruction: threads that wait poll them without the lock.
  os::guarded_fd pidfd_;
  os::guarded_fd control_;
  std::shared_ptr<zygote_link> zygote_;

  std::mutex mutex_;
  bool control_ended_ = false;      // nobody is left who could send
  std::optional<os::ended> ended_;  // set once
  std::optional<mp::failure> failure_;
  captures captures_;
  std::vector<std::byte> crash_;  // as the crash handler wrote it
};

/// How long after a child's end its fork server may take to say so, before others are asked.
inline constexpr std::chrono::milliseconds report_patience{20};
/// How long after a child's end a status may take to become readable, when the fork server is gone and somebody else
/// (init) has to reap it first. Then it is unknown.
inline constexpr std::chrono::milliseconds status_patience{1000};

}  // namespace mp::detail
