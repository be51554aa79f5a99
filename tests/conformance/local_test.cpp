// The conformance suite over this process's memory.

#include "conformance/capabilities.hpp"

#include "mp/channel_options.hpp"

namespace conformance {
inline constexpr mp::transport tested = mp::transport::local;
inline constexpr capabilities can{.travel = false, .backlog = false, .survives_maker = false, .in_hand = false};
}  // namespace conformance

#include "conformance/channel_suite_ends.hpp"
