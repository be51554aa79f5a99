// Which transport carries a channel: the one place that knows all of them.
// Must stay a table: what a transport can do is its own affair.
// Decision 0006.

#include "mp/detail/channel.hpp"

#include "channel/local_channel.hpp"
#include "channel/ring_channel.hpp"
#include "channel/socket_client.hpp"
#include "channel/socket_pipe.hpp"
#include "channel/socket_queue.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/error.hpp"

#include <cstdint>
#include <string>

namespace mp::detail {

std::shared_ptr<channel> make_channel(const channel_options& options) {
  switch (options.transport) {
    case transport::ring: return ring::make_ring_channel(options);
    case transport::socket:
      if (options.kind == channel_kind::pipe) return sock::make_pipe(options);
      return std::make_shared<sock::queue_channel>(options);
    case transport::local: return make_local_channel(options);
  }
  throw_error(errc::invalid_argument, "unknown transport " + std::to_string(static_cast<int>(options.transport)) +
                                          ": use ring, socket or local");
}

imported_handle import_handle(decoder& d, std::uint64_t expected_type) {
  // The first byte of every handle that travels names its transport.
  const auto which = d.number<std::uint8_t>();
  if (which == static_cast<std::uint8_t>(transport::ring)) return ring::import_ring_handle(d, expected_type);
  if (which == static_cast<std::uint8_t>(transport::socket)) {
    const auto kind = d.number<std::uint8_t>();
    if (kind == static_cast<std::uint8_t>(channel_kind::pipe)) return sock::import_pipe(d, expected_type);
    if (kind == static_cast<std::uint8_t>(channel_kind::queue)) return sock::import_queue(d, expected_type);
  }
  throw_error(errc::bad_frame,
              "a handle in the message names transport " + std::to_string(which) + ", which cannot travel");
}

void leave_channels() noexcept {
  ring::leave_ring_channels();
  sock::leave_pipe_channels();
}

void channel::set_maxsize(std::size_t) {
  throw_error(errc::invalid_argument, "the bound of a channel over this transport cannot be changed once it is made");
}

}  // namespace mp::detail
