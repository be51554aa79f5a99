// Counts forks from a child hook, so that a handle made before a raw fork is refused after it.
// Must not allocate or lock: the hook runs in the child of a process with threads.
// D5: "wrong_process"; API.md 0.5.

#include "channel/fork_guard.hpp"

#include "mp/error.hpp"

#include <pthread.h>
#include <atomic>
#include <string>

namespace mp::detail {
namespace {

std::atomic<unsigned> generation{0};
[[maybe_unused]] const int hooked =
    ::pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

unsigned fork_generation() noexcept { return generation.load(std::memory_order_relaxed); }

void check_generation(unsigned made_in, const char* what) {
  if (made_in != fork_generation())
    throw_error(errc::wrong_process,
                std::string(what) +
                    ": this handle belongs to the process that called fork(): pass handles to children as arguments");
}

}  // namespace mp::detail
