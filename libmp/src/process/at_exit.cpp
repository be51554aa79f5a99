// at_exit hooks. Must run each hook once, outside of the lock, whatever it throws.

#include "process/at_exit.hpp"

#include "mp/this_process.hpp"
#include "os/per_process.hpp"

#include <cstdio>
#include <exception>
#include <mutex>
#include <vector>

namespace mp {
namespace detail {
namespace {

struct hooks {
  std::mutex mutex;
  std::vector<std::function<void()>> list;
};
using all_hooks = os::fork_state<hooks>;

std::function<void()> take_last() {
  hooks& all = all_hooks::get();
  const std::lock_guard lock(all.mutex);
  if (all.list.empty()) return {};
  auto hook = std::move(all.list.back());
  all.list.pop_back();
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

void abandon_exit_hooks() noexcept { all_hooks::begin_again(); }

}  // namespace detail

void at_exit(std::function<void()> hook) {
  if (!hook) return;
  detail::hooks& all = detail::all_hooks::get();
  const std::lock_guard lock(all.mutex);
  all.list.push_back(std::move(hook));
}

}  // namespace mp
