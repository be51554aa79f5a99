// The calling process's knowledge of itself. Must not be destroyed before the last static destructor ran.

#include "process/self.hpp"

#include "mp/error.hpp"

namespace mp {
namespace detail {

self& this_self() noexcept {
  static auto* const instance = new self;
  return *instance;
}

std::string self::next_child_name() {
  const std::string number = std::to_string(children_named.fetch_add(1, std::memory_order_relaxed) + 1);
  return is_child ? name + ":" + number : "process-" + number;
}

void check_initialised() {
  if (!this_self().initialised)
    throw_error(errc::not_initialised,
                "no process can be started yet: make mp::init(argc, argv); the first statement of main");
  if (this_self().shut_down.load(std::memory_order_relaxed))
    throw_error(errc::shut_down, "the library was shut down: no process can be started any more");
}

}  // namespace detail

void set_start_method(start_method method) noexcept {
  detail::this_self().method.store(method, std::memory_order_relaxed);
}

start_method get_start_method() noexcept { return detail::this_self().method.load(std::memory_order_relaxed); }

}  // namespace mp
