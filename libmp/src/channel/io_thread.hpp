#pragma once
/// @file
/// The process's one I/O thread: lazy, with all signals blocked, never usable in a raw forked child.
///
/// Model:    asio::io_context run by one thread; asyncio's event loop thread.
/// Shape:    started by the first async form, first socket queue or first callback; lives until the orderly exit.
/// Threads:  every function here is thread-safe.   Processes: process-bound.
/// Source:   doc/decisions/0006-channels.md; D4 and D13 of the design.

#include "mp/detail/async.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <functional>

namespace mp::detail {

/// The context that the I/O thread runs; started on first use. Throws as io_thread_ref().
asio::io_context& io_context();

/// Does it run? Nothing is started.
bool has_io_thread() noexcept;

/// What receives an exception that leaves a bare callback; empty: one line on stderr.
void set_on_unhandled(std::function<void(std::exception_ptr)>);
/// Gives an exception to that receiver. What the receiver throws is dropped.
void report_unhandled(std::exception_ptr) noexcept;

/// The operation that the I/O thread is trying right now; null elsewhere.
const void* current_operation() noexcept;

/// Ends what is under way with shut_down, then the thread. Later use throws shut_down.
/// Waits:    at most `limit` for a handler that does not come back; not at all on the I/O thread itself.
void stop_io_thread(std::chrono::milliseconds limit) noexcept;

/// For the child of our own fork start method: forgets the parent's thread, so that the child may start its own.
void reset_io_thread_in_child() noexcept;

}  // namespace mp::detail
