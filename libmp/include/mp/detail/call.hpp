#pragma once
/// @file
/// Calls that travel: a callable and its arguments as bytes, and the way back to code in another process of this build.
///
/// Model:    std::jthread's constructor: arguments are copied now, the call happens elsewhere.
/// Shape:    {build-id of the module, offset of the instantiated thunk} and the encoded callable and arguments. Nothing is
///           registered: the compiler instantiates the thunk where the call is written.
/// Copies:   arguments are converted to the parameters' types and encoded before bind_call returns.
/// Threads:  free functions.         Processes: a bound call runs in any process of the same build.
/// Source:   doc/decisions/0003-tasks-without-registration.md.

#include "mp/codec.hpp"
#include "mp/detail/callable.hpp"
#include "mp/detail/std_parts.hpp"
#include "mp/detail/waiting_fds.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp::detail {

/// A place in code that means the same in every process of one build.
///
/// Threads:  a value.   Processes: copied.
struct call_target {
  std::array<std::byte, 20> build_id{};
  std::uint64_t offset = 0;  ///< from the load address of its module
  std::string module{};      ///< its path, for plugins; empty: the program itself
};

/// A bound call without its result. What a `task` holds, shared and never changed.
///
/// Threads:  thread-compatible.   Processes: process-bound (serialise_call makes what travels).
struct bound_call {
  call_target target{};                ///< the thunk
  std::vector<std::byte> arguments{};  ///< the callable, then its arguments
  waiting_fds fds{};
  bool wants_stop_token = false;
  std::string function{};  ///< what is called, for messages
};

/// Where the result of a call goes. `encode(encoder, result)` writes it and may be called again with more room.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class result_sink {
public:
  virtual void take(const void* result, void (*encode)(encoder&, const void*)) = 0;

protected:
  ~result_sink() = default;
};

struct invocation {
  decoder& arguments;
  std::stop_token stop{};
  result_sink* result = nullptr;  ///< null: the result is dropped
};
using thunk = void (*)(invocation&);

/// Throws: error{invalid_argument} if there is no code of a loaded module at `code`.
call_target locate(std::uintptr_t code);
/// Throws: error{version_mismatch} if the module is another build here, or not there; error{undecodable} if the offset
/// lies in no code.
std::uintptr_t resolve(const call_target&);
/// The place of `code` as part of a message. Throws: as locate.
void write_location(encoder&, std::uintptr_t code);
/// Where that is here. Throws: as resolve; error{undecodable}.
std::uintptr_t read_location(decoder&);
/// What a function pointer is called in messages: its symbol, or else its type.
std::string name_function(std::uintptr_t code, std::string_view type);

/// A bound call of what was encoded. `code`: the function pointer that is called, 0 if it is none.
bound_call make_call(encoded&& arguments, const call_target& target, bool wants_stop_token, std::uintptr_t code,
                     std::string_view type);
/// All of a call, with duplicates of its descriptors. Throws: error{out_of_resources}; error{wrong_process}: it holds
/// descriptors, and was copied here by a fork.
encoded serialise_call(const bound_call&);
/// Does the callable of a serialised call ask for a stop token? Throws: error{undecodable}.
bool wants_stop_token(std::span<const std::byte> bytes);
/// Throws: error{undecodable}.
std::unique_ptr<bound_call> parse_call(std::span<const std::byte> bytes, std::vector<unique_fd> fds);
/// Calls it, once. Throws: error{version_mismatch}, error{undecodable}; what the function throws.
void run_call(bound_call& call, std::stop_token stop, result_sink* result = nullptr);

// ---- The callable as bytes

/// A pointer to a member function as the Itanium ABI lays it out: {function or vtable offset, adjustment}.
struct member_words {
  std::uintptr_t function = 0;
  std::ptrdiff_t adjustment = 0;

#if defined(__aarch64__) || defined(__arm__)
  bool is_virtual() const noexcept { return (adjustment & 1) != 0; }
#else
  bool is_virtual() const noexcept { return (function & 1) != 0; }
#endif
};

template <class F>
void write_callable(encoder& e, const F& f) {
  if constexpr (std::is_pointer_v<F>) {
    write_location(e, reinterpret_cast<std::uintptr_t>(f));
  } else if constexpr (std::is_member_function_pointer_v<F>) {
    const auto words = std::bit_cast<member_words>(f);
    write_value(e, words.is_virtual());
    write_value(e, words.adjustment);
    if (words.is_virtual())
      write_value(e, words.function);
    else
      write_location(e, words.function);
  } else if constexpr (!std::is_empty_v<F>) {
    write_value(e, f);
  }
}

template <class F>
F read_callable(decoder& d) {
  if constexpr (std::is_pointer_v<F>) {
    return reinterpret_cast<F>(read_location(d));
  } else if constexpr (std::is_member_function_pointer_v<F>) {
    member_words words;
    const bool is_virtual = read_value<bool>(d);
    words.adjustment = read_value<std::ptrdiff_t>(d);
    words.function = is_virtual ? read_value<std::uintptr_t>(d) : read_location(d);
    if (is_virtual != words.is_virtual()) decoder::throw_invalid("a member function that is none");
    return std::bit_cast<F>(words);
  } else if constexpr (std::is_empty_v<F>) {
    return F{};
  } else {
    return read_value<F>(d);
  }
}

// ---- The call in the other process

template <class F, class... P>
struct arrived_call {
  F callable;
  std::tuple<stored<P>...> arguments;

  // Read in this order: members in braces are initialised from left to right.
  static arrived_call read(decoder& d) {
    try {
      arrived_call call{read_callable<F>(d), std::tuple<stored<P>...>{read_value<stored<P>>(d)...}};
      d.finish();
      return call;
    } catch (const error&) {
      throw;
    } catch (...) {
      rethrow_undecodable("the arguments of a call");
    }
  }
};

template <class F, bool Stop, bool Result, class... P, std::size_t... I>
void run_arrived(invocation& in, std::index_sequence<I...>) {
  auto call = arrived_call<F, P...>::read(in.arguments);
  const auto invoke = [&]() -> decltype(auto) {
    if constexpr (Stop)
      return std::invoke(call.callable, std::move(in.stop), as_parameter<P>(std::get<I>(call.arguments))...);
    else
      return std::invoke(call.callable, as_parameter<P>(std::get<I>(call.arguments))...);
  };
  using result = std::decay_t<decltype(invoke())>;
  if constexpr (std::is_void_v<result>) {
    invoke();
    if (Result && in.result) in.result->take(nullptr, [](encoder&, const void*) {});
  } else if constexpr (!Result) {
    static_cast<void>(invoke());
  } else {
    const result r = invoke();
    if (in.result) in.result->take(&r, [](encoder& e, const void* p) { encode(e, *static_cast<const result*>(p)); });
  }
}

/// The code that a bound call names: instantiated for each callable type and its parameters.
template <class F, bool Stop, bool Result, class... P>
void call_thunk(invocation& in) {
  run_arrived<F, Stop, Result, P...>(in, std::index_sequence_for<P...>{});
}

template <class F, bool Stop, bool Result, class... P>
const call_target& target_of_thunk() {
  static const call_target target = locate(reinterpret_cast<std::uintptr_t>(&call_thunk<F, Stop, Result, P...>));
  return target;
}

// ---- Binding

template <bool Result, class F, bool Stop, class... P, class... A>
bound_call bind_planned(const F& f, call_plan<Stop, P...>, A&&... args) {
  // Converted once, because writing may take two passes.
  const std::tuple<argument<P, A>...> values{convert_argument<P, A>(args)...};
  encoded message = encode_with([&](encoder& e) {
    write_callable(e, f);
    std::apply([&e](const auto&... v) { (write_value(e, v), ...); }, values);
  });
  // What was moved in belongs to the call now. Only here, so that a failure above has taken nothing.
  (drop_handed_over<P>(std::forward<A>(args)), ...);

  std::uintptr_t code = 0;
  if constexpr (std::is_pointer_v<F>) code = reinterpret_cast<std::uintptr_t>(f);
  return make_call(std::move(message), target_of_thunk<F, Stop, Result, P...>(), Stop, code, type_name<F>());
}

/// Encodes a call. With Result, the callable's result can be taken where it runs.
///
/// Throws:   error{invalid_argument} for a null function pointer; error{unencodable}, error{too_large}; nothing of the
///           arguments is taken then.
template <bool Result = false, class F, class... A>
bound_call bind_call(F&& f, A&&... args) {
  using callable = std::decay_t<F>;
  check_callable<callable>();
  if constexpr (can_travel_as_callable<callable>) {
    constexpr bool may_be_null = !std::is_function_v<std::remove_reference_t<F>>;  // a function itself never is
    if constexpr (may_be_null && (std::is_pointer_v<callable> || std::is_member_function_pointer_v<callable>))
      if (f == nullptr) throw_error(errc::invalid_argument, "a null function pointer cannot be called");
    using plan = plan_of<callable, A...>;
    if constexpr (plan::fits) {
      if constexpr (Result) check_result<result_of_plan<callable, typename plan::type>>();
      return bind_planned<Result, callable>(f, typename plan::type{}, std::forward<A>(args)...);
    }
  }
}

/// The decayed result of calling F with arguments A, as it arrives.
template <class F, class... A>
struct result_of_call {
  using type = result_of_plan<std::decay_t<F>, typename plan_of<std::decay_t<F>, A...>::type>;
};

}  // namespace mp::detail
