// at_exit hooks. Must run each hook once, outside of the lock, whatever it throws.

#include "process/at_exit.hpp"

#include "mp/this_process.hpp"

#include <cstdio>
#include <exception>
#include <mutex>
#include <new>
#include <vector>

namespace mp {
namespace detail {
namespace {

struct hooks {
  std::mutex mutex;
  std::vector<std::function<void()>> list;
};
alignas(hooks) std::byte storage[sizeof(hooks)];
hooks& all() noexcept {
  static hooks* const made = new (storage) hooks;
  return *made;
}

std::function<void()> take_last() {
  const std::lock_guard lock(all().mutex);
  if (all().list.empty()) return {};
  auto hook = std::move(all().list.back());
  all().list.pop_back();
  return hook;
}

}  // namespace

void run_exit_hooks() noexcept {
  while (auto hook = take_last()) {
    try {
      hook();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "mp: an at_exit hook threw: %s\n", e.what());
    } catch (...) {
      std::fprintf(stderr, "mp: an at_exit hook threw something that is no std::exception\n");
    }
  }
}

void abandon_exit_hooks() noexcept {
  all();
  new (storage) hooks;
}

}  // namespace detail

void at_exit(std::function<void()> hook) {
  if (!hook) return;
  const std::lock_guard lock(detail::all().mutex);
  detail::all().list.push_back(std::move(hook));
}

}  // namespace mp
