#pragma once
/// @file
/// What is thrown here for what went wrong in another process: its exception again, or its death.
///
/// Model:    the RemoteTraceback of Python's Pool; different: a standard exception arrives as the same type and as
///           remote_error, and a death is explained.
/// Shape:    thrown is something that is remote_error and what the task threw (a standard type or a hooked one); what
///           cannot travel is remote_error and error{task_threw}. Deaths are worker_died.
/// Threads:  values.                 Processes: -
/// Source:   doc/decisions/0004-errors.md, doc/decisions/0009-pools.md.
///
/// Example:  samples/05_crash.cpp

#include "mp/codec.hpp"
#include "mp/error.hpp"
#include "mp/failure.hpp"

#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace mp {

/// Says that an exception came from a function in another process. A mix-in and no std::exception: with two such bases
/// `catch (const std::exception&)` would be ambiguous, and catch nothing.
///
/// Threads:  a value.   Processes: process-bound.
class remote_error {
public:
  remote_error(mp::failure why, task_id task, int attempt, std::string worker)
      : failure_(std::move(why)), task_(task), attempt_(attempt), worker_(std::move(worker)) {}
  virtual ~remote_error();

  /// Type name, what, nested causes and the backtrace of the throw.
  const mp::failure& failure() const noexcept { return failure_; }
  task_id task() const noexcept { return task_; }
  int attempt() const noexcept { return attempt_; }
  const std::string& worker() const noexcept { return worker_; }

private:
  mp::failure failure_;
  task_id task_;
  int attempt_;
  std::string worker_;
};

/// A process died in a task, or was ended because of it.
///
/// Threads:  a value.   Processes: process-bound.
class worker_died : public error {
public:
  /// `code`: worker_died, task_poisoned, deadline_exceeded or cancelled. `deaths`: one of each attempt, at least one.
  worker_died(errc code, std::vector<mp::post_mortem> deaths);

  /// Of the last attempt.
  const mp::post_mortem& post_mortem() const noexcept;
  /// Of all attempts.
  std::span<const mp::post_mortem> deaths() const noexcept;

private:
  std::vector<mp::post_mortem> deaths_;
};

namespace detail {

/// How one type of exception travels.
///
/// Threads:  a value.   Processes: the same in every process of one build.
struct exception_way {
  std::uint64_t type = 0;  ///< names it on the wire
  const std::type_info* info = nullptr;
  void (*encode)(encoder&, const void* exception) = nullptr;  ///< `exception` points to an object of exactly this type
  /// Throws it again, with the mix-in. Throws error{undecodable} if the bytes are none.
  void (*raise)(decoder&, remote_error&& origin) = nullptr;
};
/// Before main, or while a plugin is loaded.
void add_exception_way(const exception_way&) noexcept;

/// The caught exception as bytes; `backtrace` is the text of where it was thrown.
std::vector<std::byte> encode_exception(std::exception_ptr problem, std::string backtrace) noexcept;
/// What encode_exception wrote as an exception of this process. Never null; an error{undecodable} if it is garbled.
std::exception_ptr decode_exception(std::span<const std::byte> bytes, task_id task, int attempt,
                                    std::string worker) noexcept;

/// The same, later: what comes from here is decoded by open_exception, where the user's hooks may run.
std::exception_ptr keep_exception(std::span<const std::byte> bytes, task_id task, int attempt,
                                  std::string worker) noexcept;
/// Decodes what keep_exception kept; any other exception stays as it is.
std::exception_ptr open_exception(std::exception_ptr kept) noexcept;

/// Calls `f(context)`. What it throws comes back, null for nothing, with the stack of its throw as text.
std::exception_ptr call_caught(void (*f)(void*), void* context, std::string& backtrace) noexcept;

/// An E that came from elsewhere.
template <class E>
class remote final : public E, public remote_error {
public:
  remote(E e, remote_error&& origin) : E(std::move(e)), remote_error(std::move(origin)) {}
};

}  // namespace detail

/// Lets exceptions of type E (sendable) arrive as E: `static const mp::exception_hook<bad_input> hook;` at namespace
/// scope, in the program that throws and catches them.
///
/// Threads:  before main.   Processes: in each process of the program.
template <class E>
struct exception_hook {
  exception_hook() noexcept {
    static_assert(!std::is_final_v<E>, "mp: an exception that arrives as itself must not be final");
    detail::add_exception_way(
        {detail::type_hash<E>(), &typeid(E),
         [](detail::encoder& e, const void* object) { detail::encode(e, *static_cast<const E*>(object)); },
         [](detail::decoder& d, remote_error&& origin) {
           throw detail::remote<E>(detail::decode<E>(d), std::move(origin));
         }});
  }
};

}  // namespace mp
