#pragma once
/// @file
/// For programs that speak CAF themselves: another process's mailbox as an actor, and actors that run in a process of
/// their own. The only header that includes CAF.
///
/// Model:    CAF's own remote actors; different: no bytes of another process reach CAF's deserializer, and a dead process
///           is a down_msg that says how it died.
/// Shape:    an actor here stands for a process there. A message's elements are written by our codec; types besides
///           arithmetic, atoms, std::string and vectors of these are named once, with `mp::speaks<my_type>{}`.
/// Threads:  thread-safe.            Processes: handles are process-bound.
/// Death:    monitors and links hear of the process's end; the reason carries the exit status, none for code 0. Requests
///           that it has not answered fail with sec::request_receiver_down.
/// Source:   doc/decisions/0011-caf-face.md.
///
/// Example:  samples/08_isolated_actor.cpp

#include "mp/address.hpp"
#include "mp/detail/caf_words.hpp"
#include "mp/detail/call.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/exit_status.hpp"
#include "mp/process.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/error.hpp>
#include <caf/event_based_actor.hpp>

#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace mp {

/// Element types of messages besides arithmetic, atoms, std::string and vectors of these. Each is known to our codec, and
/// to CAF as a message type of this process (inspectable, or CAF_ALLOW_UNSAFE_MESSAGE_TYPE).
template <class... Types>
struct speaks {};

namespace detail {

caf::actor make_caf_face(caf::actor_system& system, const address& to, const caf_words& words);
caf::actor make_isolated(caf::actor_system& system, process fresh, const caf_words& words);
/// The library's own system; started at first use, stopped at the orderly end. Throws: error{shut_down}.
caf::actor_system& caf_node();
/// The life of an isolated actor's process: messages come in, answers go out, until the actor or the parent ends it.
void live_isolated(std::stop_token stop, caf::actor born, const caf_words& words);

template <class... T>
const caf_words& words_of(speaks<T...>) {
  return caf_words_of<T...>();
}

template <class F, class Words, class... A>
void run_isolated_pointer(std::stop_token stop, call_target code, A... arguments) {
  const auto behavior = reinterpret_cast<F>(resolve(code));
  live_isolated(std::move(stop), caf_node().spawn(behavior, std::move(arguments)...), words_of(Words{}));
}
template <class F, class Words, class... A>
void run_isolated_functor(std::stop_token stop, A... arguments) {
  live_isolated(std::move(stop), caf_node().spawn(F{}, std::move(arguments)...), words_of(Words{}));
}
template <class Impl, class Words, class... A>
void run_isolated_class(std::stop_token stop, A... arguments) {
  live_isolated(std::move(stop), caf_node().spawn<Impl>(std::move(arguments)...), words_of(Words{}));
}

/// What an argument is over there.
template <class A>
using isolated_argument = owner_of_t<std::decay_t<A>>;

template <class... T, class F, class... A>
caf::actor spawn_isolated_function(caf::actor_system& system, F&& behavior, A&&... arguments) {
  using callable = std::decay_t<F>;
  if constexpr (std::is_pointer_v<callable>) {
    void (*run)(std::stop_token, call_target, isolated_argument<A>...) =
        &run_isolated_pointer<callable, speaks<T...>, isolated_argument<A>...>;
    process fresh({.name = "actor"}, run, locate(reinterpret_cast<std::uintptr_t>(callable(behavior))),
                  std::forward<A>(arguments)...);
    return make_isolated(system, std::move(fresh), caf_words_of<T...>());
  } else {
    static_assert(std::is_empty_v<callable> && std::is_default_constructible_v<callable>,
                  "mp: an isolated behavior is a function, a captureless lambda or a stateless functor; what it needs "
                  "goes into its arguments");
    void (*run)(std::stop_token, isolated_argument<A>...) =
        &run_isolated_functor<callable, speaks<T...>, isolated_argument<A>...>;
    process fresh({.name = "actor"}, run, std::forward<A>(arguments)...);
    return make_isolated(system, std::move(fresh), caf_words_of<T...>());
  }
}

template <class Impl, class... T, class... A>
caf::actor spawn_isolated_class(caf::actor_system& system, speaks<T...>, A&&... arguments) {
  void (*run)(std::stop_token, isolated_argument<A>...) =
      &run_isolated_class<Impl, speaks<T...>, isolated_argument<A>...>;
  process fresh({.name = "actor"}, run, std::forward<A>(arguments)...);
  return make_isolated(system, std::move(fresh), caf_words_of<T...>());
}

template <class T>
inline constexpr bool is_speaks = false;
template <class... T>
inline constexpr bool is_speaks<speaks<T...>> = true;
template <class T>
inline constexpr bool is_behavior = !is_speaks<std::decay_t<T>> && !std::is_convertible_v<T, caf::actor_system&>;

}  // namespace detail

/// The mailbox of another process as an actor: send, request, monitor, link. What one sends, the other's `receive` (or
/// isolated behavior) gets as the same values. A message to a mailbox that is full is lost, as one to a dead actor.
/// The link goes one way: the process's end reaches linked actors, their end does not end the process.
///
/// Throws:   error{out_of_resources}; error{shut_down}.
template <class... T>
caf::actor as_actor(caf::actor_system& system, const address& to, speaks<T...> = {}) {
  return detail::make_caf_face(system, to, detail::caf_words_of<T...>());
}

/// How the process behind an actor ended; of a down_msg's or exit_msg's reason. None (CAF's "no error") is code 0;
/// nullopt: the reason is another one. Throws: nothing.
std::optional<exit_status> exit_status_of(const caf::error& reason);

/// Runs a CAF behavior in a process of its own: a function, captureless lambda or stateless functor as for
/// actor_system::spawn, or with <Impl> a class of actor. Arguments travel as a process's. Without a system the library's
/// own hosts the face. The process ends with its actor (code 0, or 1 with an error as reason), with the last handle here,
/// or by an exit_msg: asked first, killed after 5 s; at once for exit_reason::kill.
///
/// Waits:    for the process's hello.
/// Throws:   what process::start throws; error{unencodable}; error{shut_down}.
template <class F, class... A>
requires detail::is_behavior<F> caf::actor spawn_isolated(caf::actor_system& system, F&& behavior, A&&... args) {
  return detail::spawn_isolated_function<>(system, std::forward<F>(behavior), std::forward<A>(args)...);
}
template <class... T, class F, class... A>
caf::actor spawn_isolated(caf::actor_system& system, speaks<T...>, F&& behavior, A&&... args) {
  return detail::spawn_isolated_function<T...>(system, std::forward<F>(behavior), std::forward<A>(args)...);
}
template <class F, class... A>
requires detail::is_behavior<F> caf::actor spawn_isolated(F&& behavior, A&&... args) {
  return spawn_isolated(detail::caf_node(), std::forward<F>(behavior), std::forward<A>(args)...);
}
template <class Impl, class... A>
requires std::is_base_of_v<caf::local_actor, Impl> caf::actor spawn_isolated(caf::actor_system& system, A&&... args) {
  return detail::spawn_isolated_class<Impl>(system, speaks<>{}, std::forward<A>(args)...);
}
template <class Impl, class... T, class... A>
requires std::is_base_of_v<caf::local_actor, Impl> caf::actor spawn_isolated(caf::actor_system& system,
                                                                             const speaks<T...>& words, A&&... args) {
  return detail::spawn_isolated_class<Impl>(system, words, std::forward<A>(args)...);
}

}  // namespace mp
