// The conformance suite over a socket alone.

#include "conformance/capabilities.hpp"

#include "mp/channel_options.hpp"

namespace conformance {
inline constexpr mp::transport tested = mp::transport::socket;
inline constexpr capabilities can{.travel = true, .backlog = false, .survives_maker = false, .in_hand = true};
}  // namespace conformance

#include "conformance/process_suite.hpp"
