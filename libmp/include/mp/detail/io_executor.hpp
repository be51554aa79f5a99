#pragma once
/// @file
/// The executor of the library's I/O thread, for Asio's own objects: timers and descriptors.
/// Not for users. Apart from detail/async.hpp because any_io_executor costs a compiler as much as all of libmp's queues.
///
/// Threads:  thread-safe.   Processes: process-bound.
/// Source:   doc/decisions/0006-channels.md.

#include <boost/asio/any_io_executor.hpp>

namespace mp {
namespace asio = boost::asio;

namespace detail {

/// The executor of the library's one I/O thread, which this starts on first use.
/// Throws wrong_process in a forked child, shut_down after the library ended, out_of_resources.
asio::any_io_executor io_executor();

}  // namespace detail
}  // namespace mp
