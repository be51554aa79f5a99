// libFuzzer: hostile bytes as calls. Reading one must end in undecodable or a call; its target is never believed, so
// only calls of other builds and places that are no code are run here.

#include "mp/detail/call.hpp"
#include "mp/error.hpp"

#include <cstdint>
#include <cstdlib>

using namespace mp::detail;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bound_call ours = bind_call([](const std::string&, std::vector<int>) {}, "text", std::vector{1, 2, 3});
  try {
    if (size != 0 && data[0] % 2 == 0) {
      const auto call = parse_call(std::as_bytes(std::span(data, size)), {});
      // Bytes that name this very build could call anything in it: they come from our parent alone.
      if (call->target.build_id != ours.target.build_id) {
        call->target.module.clear();
        run_call(*call, {});
      }
    } else if (size != 0) {
      bound_call call;
      call.target = ours.target;
      const auto arguments = std::as_bytes(std::span(data + 1, size - 1));
      call.arguments.assign(arguments.begin(), arguments.end());
      run_call(call, {});
    }
  } catch (const mp::error& e) {
    if (e.code() != mp::errc::undecodable && e.code() != mp::errc::version_mismatch) std::abort();
  }
  return 0;
}
