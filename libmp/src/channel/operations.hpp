#pragma once
/// @file
/// The operations that are under way: grouped, polled, and swept every 50 ms.
///
/// Shape:    one group per side of a channel, first come first served; one polled descriptor per group.
/// Threads:  thread-bound (the I/O thread).   Processes: process-bound.
/// Source:   D4 of the design: "the I/O thread sweeps all async waiters every 50 ms".

#include "mp/detail/async.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>

namespace mp::detail {

/// Everything that the I/O thread waits for on behalf of async forms.
///
/// Threads:  thread-bound (the I/O thread).   Processes: process-bound.
class operations {
public:
  explicit operations(asio::io_context& context) : context_(context), sweep_(context) {}

  /// Tries it, and keeps it if it must wait.
  void add(std::shared_ptr<async_operation>);
  /// Ends it with `why`, if it is still here.
  void cancel(const std::shared_ptr<async_operation>&, const error_code& why) noexcept;
  void abort_all(const error_code& why) noexcept;

  /// The operation that is being tried on this thread; null if none is.
  static const void* current() noexcept;

private:
  struct group {
    explicit group(asio::io_context& context) : descriptor(context) {}
    group(const group&) = delete;
    group& operator=(const group&) = delete;
    ~group() { close(); }
    void close() noexcept;
    std::deque<std::shared_ptr<async_operation>> waiting;  // never empty while the group is in groups_
    asio::posix::stream_descriptor descriptor;             // our own duplicate of what prepare() named
    int source = async_operation::none;                    // the number it was duplicated from
    bool polling = false;
    std::uint64_t id = 0;  // an address may come again: a late answer must not meet a later group
  };

  void run(const void* key);
  void poll(const void* key, group&, int fd);
  void sweep();
  void start_sweep(std::chrono::milliseconds in);
  group* find(const void* key, std::uint64_t id) noexcept;

  asio::io_context& context_;
  asio::steady_timer sweep_;
  bool sweeping_ = false;
  std::uint64_t next_id_ = 1;
  std::unordered_map<const void*, std::unique_ptr<group>> groups_;
};

}  // namespace mp::detail
