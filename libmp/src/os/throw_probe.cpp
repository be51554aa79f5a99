// The type_info of throw_probe. Must not include anything that makes the compiler define it, too: hence a file of its
// own, which never sees the class.

#include "os/throw_trace.hpp"

#include <typeinfo>

namespace mp::os {

extern thread_local throw_trace* current_trace;
thread_local throw_trace* current_trace = nullptr;

// Not in an unnamed namespace: what is of an unnamed type is local to this file, whatever its assembler name.
class noting_type_info final : public std::type_info {
public:
  noting_type_info() : std::type_info("N2mp2os11throw_probeE") {}
  // The first phase of unwinding asks this, with the stack of the throw still whole.
  bool __do_catch(const std::type_info*, void**, unsigned) const override {
    if (current_trace) current_trace->capture();
    return false;
  }
};

// What `catch (throw_probe&)` refers to.
extern const noting_type_info probe_type_info __asm__("_ZTIN2mp2os11throw_probeE");
const noting_type_info probe_type_info;

}  // namespace mp::os
