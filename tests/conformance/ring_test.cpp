// The conformance suite over shared memory.

#include "conformance/capabilities.hpp"

#include "mp/channel_options.hpp"

namespace conformance {
inline constexpr mp::transport tested = mp::transport::ring;
inline constexpr capabilities can{.travel = true, .backlog = true, .survives_maker = true, .in_hand = true};
}  // namespace conformance

#include "conformance/process_suite.hpp"
