#pragma once
/// @file
/// What a task may ask and say of itself while it runs in a pool's worker.
///
/// Model:    Celery's `self.request`, as free functions.
/// Shape:    outside a task: 0, 1, "", a token that never trips, nullopt, nothing; so tasks run in unit tests.
/// Threads:  about the thread that runs the task; others are outside.   Processes: about the calling one.
/// Source:   doc/decisions/0009-pools.md.

#include "mp/duration.hpp"
#include "mp/failure.hpp"

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

namespace mp::this_task {

/// Its number in its pool; with `attempt` it lets a task make its effects idempotent.
task_id id() noexcept;
/// Counted from 1.
int attempt() noexcept;
/// Throws: std::bad_alloc.
std::string key();
/// Trips when the task is cancelled or its deadline is over.
/// Throws:   error{out_of_resources}: no thread to listen.
std::stop_token stop_token();
/// When it will be stopped.
std::optional<time_point> deadline() noexcept;
/// Says how far it is: future::progress and task_options::on_progress show it. The first 255 bytes of `text` count.
/// Never waits.
/// Throws:   nothing.
void progress(std::uint64_t done, std::uint64_t total, std::string_view text = {}) noexcept;

}  // namespace mp::this_task
