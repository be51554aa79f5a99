// A plugin that makes calls of its own code. Built twice, as two builds of one plugin.

#include "mp/detail/call.hpp"

#include <unistd.h>

using mp::detail::bound_call;

static int twice(int n) { return n * 2 + 0 * MP_PLUGIN_BUILD; }

extern "C" __attribute__((visibility("default"))) void make_call(void (*give)(const bound_call&)) {
  give(mp::detail::bind_call<true>([](int n) { return twice(n) + MP_PLUGIN_BUILD * 0; }, 21));
}

extern "C" __attribute__((visibility("default"))) int (*find_function())(int) { return twice; }
// For a process of its own, whose end tells the result.
static void end_with_twice(int n) { ::_exit(twice(n)); }
extern "C" __attribute__((visibility("default"))) void (*find_end())(int) { return end_with_twice; }
// What makes the two builds differ.
extern "C" __attribute__((visibility("default"))) int plugin_build() { return MP_PLUGIN_BUILD; }
