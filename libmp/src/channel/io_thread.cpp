// The one I/O thread, its life, and where stray exceptions of callbacks go.
// Must never run user code while it holds a lock, and never touch its state in a forked child.
// Decision 0006 says why there is one thread and why it is lazy.

#include "channel/io_thread.hpp"

#include "channel/operations.hpp"
#include "mp/detail/io_executor.hpp"
#include "os/per_process.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>

namespace mp::detail {
namespace {

// Invariants: (1) a runtime is never destroyed: handlers of detached code may still name its context;
// (2) `current_runtime` changes only under start_mutex; (3) in a forked child `current_runtime` stays null until the reset.
struct runtime {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  operations pending{context};
  pthread_t thread{};
};

enum class life : int { not_started, running, stopped, forked };

std::atomic<runtime*> current_runtime{nullptr};
std::atomic<runtime*> last_runtime{nullptr};  // stopped, and kept reachable: a leak checker must not call (1) a leak
std::atomic<life> thread_state{life::not_started};

struct start_lock {
  std::mutex mutex;
};
std::mutex& start_mutex() noexcept { return os::fork_state<start_lock>::get().mutex; }

thread_local bool is_io_thread = false;

using unhandled_handler = std::function<void(std::exception_ptr)>;
std::mutex& handler_mutex() noexcept {
  static auto* const made = new std::mutex;
  return *made;
}
unhandled_handler& handler_slot() noexcept {
  static auto* const made = new unhandled_handler;
  return *made;
}

void write_line(std::exception_ptr problem) noexcept {
  try {
    std::rethrow_exception(std::move(problem));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "mp: process %d: a callback on the I/O thread threw: %s\n", static_cast<int>(::getpid()),
                 e.what());
  } catch (...) {
    std::fprintf(stderr, "mp: process %d: a callback on the I/O thread threw something that is no std::exception\n",
                 static_cast<int>(::getpid()));
  }
}

void* run_thread(void* argument) {
  is_io_thread = true;
  ::pthread_setname_np(::pthread_self(), "mp-io");
  auto& rt = *static_cast<runtime*>(argument);
  for (;;) {
    try {
      rt.context.run();
      return nullptr;
    } catch (...) {
      report_unhandled(std::current_exception());
    }
  }
}

void in_forked_child() noexcept {
  is_io_thread = false;
  last_runtime.store(current_runtime.load(std::memory_order_relaxed), std::memory_order_relaxed);
  current_runtime.store(nullptr, std::memory_order_relaxed);
  thread_state.store(life::forked, std::memory_order_relaxed);
}

void stop_at_exit() { stop_io_thread(std::chrono::seconds(1)); }

[[noreturn]] void refuse(life why) {
  if (why == life::forked)
    throw_error(
        errc::wrong_process,
        "the I/O thread belongs to the process that called fork(): after a raw fork only exec or _exit is safe");
  throw_error(errc::shut_down, "the library was shut down: no asynchronous operation can start any more");
}

runtime& start() {
  const std::lock_guard lock(start_mutex());
  if (runtime* rt = current_runtime.load(std::memory_order_relaxed)) return *rt;
  if (const life now = thread_state.load(std::memory_order_relaxed); now == life::stopped || now == life::forked)
    refuse(now);

  static const bool hooks = [] {
    ::pthread_atfork(nullptr, nullptr, [] { in_forked_child(); });
    std::atexit(stop_at_exit);
    return true;
  }();
  static_cast<void>(hooks);

  auto made = std::make_unique<runtime>();
  // The thread inherits the mask: with all signals blocked it never runs a handler of the user's.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int err = ::pthread_create(&made->thread, nullptr, run_thread, made.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (err != 0) throw_system_error(errc::out_of_resources, "cannot start the I/O thread", err);
  thread_state.store(life::running, std::memory_order_relaxed);
  current_runtime.store(made.get(), std::memory_order_release);  // pairs with the acquire in get()
  return *made.release();
}

runtime& get() {
  runtime* rt = current_runtime.load(std::memory_order_acquire);
  return rt ? *rt : start();
}

}  // namespace

asio::io_context& io_context() { return get().context; }

asio::any_io_executor io_executor() { return get().context.get_executor(); }

io_thread_ref::io_thread_ref() : context_(&get().context) {}

void io_thread_ref::post(std::unique_ptr<posted_call> call) const {
  asio::post(*static_cast<asio::io_context*>(context_), [call = std::move(call)] { call->run(); });
}

bool on_io_thread() noexcept { return is_io_thread; }

bool has_io_thread() noexcept { return current_runtime.load(std::memory_order_acquire) != nullptr; }

bool has_io_thread_ended() noexcept { return thread_state.load(std::memory_order_relaxed) == life::stopped; }

void check_may_wait(const char* what) {
  if (is_io_thread)
    throw_error(errc::would_deadlock, std::string(what) +
                                          " would wait on the library's own I/O thread, which must not block: "
                                          "use the async form, a try form, or run this on an executor of your own");
}

const void* current_operation() noexcept { return operations::current(); }

void start_operation(std::shared_ptr<async_operation> operation) {
  runtime& rt = get();
  asio::post(rt.context, [&rt, operation = std::move(operation)]() mutable { rt.pending.add(std::move(operation)); });
}

void cancel_operation(const std::weak_ptr<async_operation>& which) noexcept {
  runtime* rt = current_runtime.load(std::memory_order_acquire);
  const auto here = which.lock();
  // Forbidden at once: what is put after the cancellation is for somebody else. The I/O thread tells the handler.
  if (!rt || !here || !here->forbid()) return;
  try {
    asio::post(rt->context, [rt, which] {
      if (const auto operation = which.lock()) rt->pending.cancel(operation, asio::error::operation_aborted);
    });
  } catch (...) {
    // No memory to ask for it: the next try tells the handler.
  }
}

void set_on_unhandled(unhandled_handler handler) {
  const std::lock_guard lock(handler_mutex());
  handler_slot() = std::move(handler);
}

void report_unhandled(std::exception_ptr problem) noexcept {
  try {
    unhandled_handler handler;
    {
      const std::lock_guard lock(handler_mutex());
      handler = handler_slot();
    }
    if (handler)
      handler(problem);
    else
      write_line(problem);
  } catch (...) {
    write_line(problem);
  }
}

void stop_io_thread(std::chrono::milliseconds limit) noexcept {
  runtime* rt = nullptr;
  {
    const std::lock_guard lock(start_mutex());
    rt = current_runtime.exchange(nullptr, std::memory_order_acq_rel);
    if (thread_state.load(std::memory_order_relaxed) != life::forked)
      thread_state.store(life::stopped, std::memory_order_relaxed);
  }
  if (!rt) return;
  last_runtime.store(rt, std::memory_order_release);
  try {
    // First the handlers hear of it, then the thread ends: both are posted, so the order is theirs.
    asio::post(rt->context, [rt] {
      rt->pending.abort_all(to_boost(errc::shut_down));
      asio::post(rt->context, [rt] { rt->context.stop(); });
    });
  } catch (...) {
    rt->context.stop();
  }
  if (is_io_thread) return;

  timespec until{};
  ::clock_gettime(CLOCK_MONOTONIC, &until);
  const auto total = std::chrono::nanoseconds(until.tv_nsec) + limit;
  until.tv_sec += static_cast<time_t>(std::chrono::duration_cast<std::chrono::seconds>(total).count());
  until.tv_nsec = static_cast<long>((total % std::chrono::seconds(1)).count());
  if (::pthread_clockjoin_np(rt->thread, nullptr, CLOCK_MONOTONIC, &until) != 0) ::pthread_detach(rt->thread);
}

void reset_io_thread_in_child() noexcept {
  os::fork_state<start_lock>::begin_again();
  is_io_thread = false;
  current_runtime.store(nullptr, std::memory_order_relaxed);
  thread_state.store(life::not_started, std::memory_order_relaxed);
}

error_code to_error_code(std::exception_ptr problem) noexcept {
  try {
    std::rethrow_exception(std::move(problem));
  } catch (const boost::system::system_error& e) {
    return e.code();
  } catch (const std::system_error& e) {
    return error_code(e.code());
  } catch (const std::bad_alloc&) {
    return to_boost(errc::out_of_resources);
  } catch (...) {
    return to_boost(errc::undecodable);
  }
}

}  // namespace mp::detail
