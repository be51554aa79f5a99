#pragma once
/// @file
/// What could not be put at once into a mailbox or a queue of answers, because somebody else was putting or there was no
/// room: kept in its order, and tried again on the I/O thread until it is in, or nobody wants it any more.
///
/// Threads:  thread-safe.            Processes: process-bound; what a forked child finds in one is its parent's.
/// Death:    at the orderly end of this process what is kept gets another second.
/// Source:   doc/decisions/0008-mailboxes.md.

#include "mp/detail/channel.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/duration.hpp"
#include "os/fork_guard.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace mp::detail {

/// One a millisecond. Whoever holds a lock without its processor has it back by then, as a rule; a stopped process has
/// not, and for that the sweep of the I/O thread is often enough.
inline constexpr int hasty_tries = 50;

/// An encoded message that outlives the values it was made of.
struct kept_message {
  std::vector<std::byte> bytes;
  std::vector<unique_fd> fds;

  /// What `write(encoder&)` writes, which must write the same each time. Throws what it throws.
  template <class Write>
  static kept_message of(Write&& write) {
    kept_message m;
    m.bytes.resize(1024);
    encoder first(m.bytes);
    write(first);
    m.bytes.resize(first.size());
    m.fds = std::move(first.attachments());
    if (first.overflowed()) {
      encoder second = encoder::second_pass(m.bytes, {});
      write(second);
    }
    return m;
  }
  outgoing view() const noexcept {
    outgoing out;
    out.size = bytes.size();
    out.bytes = bytes;
    out.fds = fds;
    return out;
  }
  /// As a part of another message. Throws: error{out_of_resources}, error{too_large}.
  void write_into(encoder& e) const;
};

/// Threads:  thread-safe.   Processes: process-bound.
class outbox : public std::enable_shared_from_this<outbox> {
public:
  /// One message that waits.
  class item {
  public:
    virtual ~item() = default;
    /// Under the outbox's lock, and must not wait. False: not now.
    virtual bool try_put() noexcept = 0;
    /// After try_put gave true, outside of the lock.
    virtual void finish() noexcept {}
  };

  bool is_empty() const noexcept { return count_.load() == 0 || made_in_ != os::fork_generation(); }
  std::size_t size() const noexcept { return count_.load(); }
  /// Tries what is there, in its order, and never waits. True: nothing is left.
  bool flush() noexcept;
  /// The same until nothing is left. False: time is up.
  bool flush_until(time_point until);
  /// Throws: what an operation's start throws; then it was not added.
  void add(std::unique_ptr<item>);

private:
  class retry;
  bool end_retry() noexcept;

  const std::uint64_t made_in_ = os::fork_generation();
  std::mutex mutex_;  // guards the following; the count is written under it
  std::condition_variable news_;
  std::deque<std::unique_ptr<item>> items_;
  std::atomic<std::size_t> count_{0};
  bool retrying_ = false;
};

}  // namespace mp::detail
