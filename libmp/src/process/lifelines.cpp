// The lifeline pipe of this process. Must never be closed while the process lives: its children would be killed.

#include "process/lifelines.hpp"

#include "os/lifeline.hpp"
#include "os/per_process.hpp"

#include <mutex>

namespace mp::detail {
namespace {

struct own_lifeline {
  std::mutex mutex;
  os::lifeline pipe;
};
using the_lifeline = os::fork_state<own_lifeline>;

}  // namespace

int lifeline_for_children() {
  own_lifeline& own = the_lifeline::get();
  const std::lock_guard lock(own.mutex);
  if (!own.pipe.read) own.pipe = os::make_lifeline();
  return own.pipe.read.get();
}

void abandon_lifeline() noexcept {
  the_lifeline::get().pipe.read.reset();  // the write end was closed by the fork hook
  the_lifeline::begin_again();
}

}  // namespace mp::detail
