// The lifeline pipe of this process. Must never be closed while the process lives: its children would be killed.

#include "process/lifelines.hpp"

#include "os/lifeline.hpp"

#include <mutex>
#include <new>

namespace mp::detail {
namespace {

struct holder {
  std::mutex mutex;
  os::lifeline pipe;
};
alignas(holder) std::byte storage[sizeof(holder)];
holder& held() noexcept {
  static holder* const made = new (storage) holder;
  return *made;
}

}  // namespace

int lifeline_for_children() {
  const std::lock_guard lock(held().mutex);
  if (!held().pipe.read) held().pipe = os::make_lifeline();
  return held().pipe.read.get();
}

void abandon_lifeline() noexcept {
  held().pipe.read.reset();  // the write end was closed by the fork hook
  new (storage) holder;
}

}  // namespace mp::detail
