#pragma once
/// @file
/// The compile-time rules for calls that travel: which callables may, what their parameters become on the way, and one
/// sentence for each thing that cannot.
///
/// Model:    std::jthread, and the rules of a plain call where it differs: arguments convert in the caller.
/// Threads:  types only.             Processes: types only.
/// Source:   doc/decisions/0003-tasks-without-registration.md.

#include "mp/detail/codec_traits.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/detail/std_parts.hpp"

#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp::detail {

// ---- Parameters of callables that have one signature

/// Of a pointer to a member function: its parameters, and the same behind the object it is called on.
template <class S>
struct signature {};
#define MP_SIGNATURE(QUALIFIERS, OBJECT)        \
  template <class C, class R, class... P>       \
  struct signature<R (C::*)(P...) QUALIFIERS> { \
    using parameters = types<P...>;             \
    using with_object = types<C OBJECT, P...>;  \
  };                                            \
  template <class C, class R, class... P>       \
  struct signature<R (C::*)(P...) QUALIFIERS noexcept> : signature<R (C::*)(P...) QUALIFIERS> {};
MP_SIGNATURE(, )
MP_SIGNATURE(const, )
MP_SIGNATURE(&, )
MP_SIGNATURE(const&, )
MP_SIGNATURE(&&, &&)
MP_SIGNATURE(const&&, &&)
#undef MP_SIGNATURE

/// The types that a callable declares for its parameters; none where it does not say.
template <class F>
struct parameters_of {};  // several operator(), or a template: none of its own
template <class R, class... P>
struct parameters_of<R (*)(P...)> {
  using type = types<P...>;
};
template <class R, class... P>
struct parameters_of<R (*)(P...) noexcept> {
  using type = types<P...>;
};
template <class F>
requires std::is_class_v<F> && requires { &F::operator(); }
struct parameters_of<F> {
  using type = typename signature<decltype(&F::operator())>::parameters;
};
/// The object of a member function: an lvalue for it, unless it asks for an rvalue.
template <class C>
struct object_of_call {};
template <class C, class... P>
types<object_of_call<C>, P...> mark_object(types<C, P...>);
template <class F>
requires std::is_member_function_pointer_v<F>
struct parameters_of<F> {
  using type = decltype(mark_object(typename signature<F>::with_object{}));
};

/// Its parameters say what travels: arguments are converted to them in the caller.
template <class F>
concept has_signature = requires {
  typename parameters_of<F>::type;
};

// ---- What travels for a parameter

/// What owns the elements that a view shows: a view travels as it, and is made of it where the call runs.
template <class T>
struct owner_of {
  using type = T;
};
template <class C, class Traits>
struct owner_of<std::basic_string_view<C, Traits>> {
  using type = std::basic_string<C, Traits>;
};
template <class E, std::size_t N>
struct owner_of<std::span<E, N>> {
  using type = std::vector<std::remove_const_t<E>>;
};
template <class C>
requires(
    std::is_same_v<std::remove_const_t<C>, char> || std::is_same_v<std::remove_const_t<C>, wchar_t> ||
    std::is_same_v<std::remove_const_t<C>, char8_t> || std::is_same_v<std::remove_const_t<C>, char16_t> ||
    std::is_same_v<std::remove_const_t<C>, char32_t>) struct owner_of<C*> {  // only for `auto` parameters: a literal
  using type = std::basic_string<std::remove_const_t<C>>;
};
template <class T>
using owner_of_t = typename owner_of<T>::type;

/// std::span, std::basic_string_view.
template <class T>
inline constexpr bool is_view = !std::is_pointer_v<T> && !std::is_same_v<owner_of_t<T>, T>;

template <class P>
struct stored_for {
  using bare = std::remove_cvref_t<P>;
  using type = std::conditional_t<is_view<bare>, owner_of_t<bare>, bare>;
};
template <class C>
struct stored_for<object_of_call<C>> {
  using type = std::remove_cvref_t<C>;
};
/// The type that travels for a parameter of type P.
template <class P>
using stored = typename stored_for<P>::type;

/// A stored argument as the parameter that the callable takes.
template <class P>
decltype(auto) as_parameter(stored<P>& value) {
  using bare = std::remove_cvref_t<P>;
  if constexpr (is_a<P, object_of_call>) {
    if constexpr (std::is_same_v<P, object_of_call<stored<P>>>)
      return (value);
    else
      return std::move(value);
  } else if constexpr (is_view<bare>) {
    if constexpr (requires { bare::extent; })
      if (bare::extent != std::dynamic_extent && value.size() != bare::extent)
        decoder::throw_invalid("a span of another length");
    return bare(value);
  } else if constexpr (std::is_lvalue_reference_v<P>) {
    return static_cast<P>(value);
  } else {
    return std::move(value);
  }
}

// ---- The plan of a call: which parameters, and whether a stop token comes first

/// `P...`: the parameters that arguments travel for; `Stop`: a stop token is given in front of them.
template <bool Stop, class... P>
struct call_plan {};

/// What the call returns, decayed.
template <class F, class Plan>
struct result_of;
template <class F, bool Stop, class... P>
struct result_of<F, call_plan<Stop, P...>> {
  template <class... T>
  static auto call(std::true_type) -> std::invoke_result_t<F&, std::stop_token, T...>;
  template <class... T>
  static auto call(std::false_type) -> std::invoke_result_t<F&, T...>;
  using type = std::decay_t<decltype(call<decltype(as_parameter<P>(std::declval<stored<P>&>()))...>(
      std::bool_constant<Stop>{}))>;
};
template <class F, class Plan>
using result_of_plan = typename result_of<F, Plan>::type;

template <class P>
inline constexpr bool is_stop_token = std::is_same_v<std::remove_cvref_t<P>, std::stop_token>;

/// The plan for so many arguments: each has its parameter, but for a stop token that comes first. Else it does not fit.
template <std::size_t Arguments, class Types>
struct plan_for_signature {
  static constexpr bool fits = false;
};
template <std::size_t Arguments, class... P>
requires(sizeof...(P) == Arguments) struct plan_for_signature<Arguments, types<P...>> {
  static constexpr bool fits = true;
  using type = call_plan<false, P...>;
};
template <std::size_t Arguments, class First, class... P>
requires(sizeof...(P) == Arguments && is_stop_token<First>) struct plan_for_signature<Arguments, types<First, P...>> {
  static constexpr bool fits = true;
  using type = call_plan<true, P...>;
};
template <std::size_t Arguments, class C, class First, class... P>
requires(sizeof...(P) + 1 == Arguments &&
         is_stop_token<First>) struct plan_for_signature<Arguments, types<object_of_call<C>, First, P...>> {
  static_assert(sizeof(C*) == 0,
                "mp: a member function cannot be given a stop_token; wrap it in a lambda that takes the token first");
  static constexpr bool fits = false;
};

/// How a stored argument is given where only an lvalue will do: handles may be changed, values may not.
template <class S>
using lvalue_for = std::conditional_t<kind_of<S> == kind::handle || kind_of<S> == kind::descriptor, S&, const S&>;

/// `auto` parameters and several operator(): the decayed arguments travel and are given as rvalues, or as lvalues if
/// only that compiles.
template <class F, class... S>
struct plan_for_any {
  static constexpr bool fits = true;
  using type = decltype([] {
    // Without a token first: asking whether a lambda with auto... takes one would compile its body with it.
    if constexpr (std::is_invocable_v<F&, S...>)
      return call_plan<false, S...>{};
    else if constexpr (std::is_invocable_v<F&, std::stop_token, S...>)
      return call_plan<true, S...>{};
    else if constexpr (std::is_invocable_v<F&, std::stop_token, lvalue_for<S>...>)
      return call_plan<true, lvalue_for<S>...>{};
    else {
      static_assert(std::is_invocable_v<F&, lvalue_for<S>...>,
                    "mp: the callable cannot be called with these arguments (it gets copies: a reference to write to "
                    "does not bind)");
      return call_plan<false, lvalue_for<S>...>{};
    }
  }());
};

template <class F, class... A>
struct find_plan {
  using type = plan_for_any<F, owner_of_t<std::decay_t<A>>...>;
};
template <class F, class... A>
requires has_signature<F>
struct find_plan<F, A...> {
  using type = plan_for_signature<sizeof...(A), typename parameters_of<F>::type>;
  static_assert(type::fits,
                "mp: the number of arguments is not what the callable takes (default arguments do not travel: wrap the "
                "function in a lambda)");
};
/// The plan of F called with A. A sentence, if there is none.
template <class F, class... A>
using plan_of = typename find_plan<F, A...>::type;

// ---- Arguments

/// What bind_call holds of one argument while it encodes: the argument itself if it has the type that travels.
template <class P, class A>
using argument = std::conditional_t<std::is_same_v<std::remove_cvref_t<A>, stored<P>>, const stored<P>&, stored<P>>;

/// What a view's bytes are read through: those of a span to write to are copied before anybody writes.
template <class V>
struct reads_of {
  using type = V;
};
template <class E, std::size_t N>
struct reads_of<std::span<E, N>> {
  using type = std::span<const E, N>;
};
/// A span of elements that are not const.
template <class T>
inline constexpr bool writes_to_span = false;
template <class E, std::size_t N>
inline constexpr bool writes_to_span<std::span<E, N>> = !std::is_const_v<E>;

/// `Writes`: a span to write to makes sense, because what was written comes back.
template <class P, class A, bool Writes>
constexpr void check_argument() {
  using to = stored<P>;
  using from = std::remove_cvref_t<A>;
  if constexpr (is_a<P, object_of_call>)
    static_assert(
        !std::is_pointer_v<from> && !is_a<from, std::reference_wrapper>,
        "mp: a member function runs on a copy of its object; pass the object, not a pointer or reference to it");
  else if constexpr (std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>)
    static_assert(
        kind_of<to> == kind::handle || kind_of<to> == kind::descriptor,
        "mp: the callable takes a reference, but it gets a copy in another process; take it by value or const "
        "reference, and return what changed");
  if constexpr (writes_to_span<std::remove_cvref_t<P>>)
    static_assert(Writes,
                  "mp: the callable takes a span to write to, but it gets a copy in another process; take a span of "
                  "const, and return what changed");
  if constexpr (std::is_lvalue_reference_v<A> && std::is_same_v<from, to>)
    static_assert(std::is_copy_constructible_v<to> || !contains_handle<to>,
                  "mp: this argument can only be handed over; pass it with std::move");
}

/// An argument as what travels for its parameter: itself, or converted. Throws: what the conversion throws.
template <class P, class A, bool Writes = false>
argument<P, A> convert_argument(std::remove_reference_t<A>& a) {
  check_argument<P, A, Writes>();
  using bare = std::remove_cvref_t<P>;
  using to = stored<P>;
  if constexpr (std::is_same_v<std::remove_cvref_t<A>, to>) {
    return a;
  } else if constexpr (is_view<bare>) {
    using reads = typename reads_of<bare>::type;
    static_assert(std::is_convertible_v<A, reads>, "mp: an argument does not convert to the type of its parameter");
    const reads view = static_cast<A&&>(a);
    return to(view.begin(), view.end());
  } else if constexpr (is_view<std::remove_cvref_t<A>> && std::is_same_v<owner_of_t<std::remove_cvref_t<A>>, to>) {
    return to(a.begin(), a.end());  // a view where `auto` takes anything
  } else {
    static_assert(std::is_convertible_v<A, to>, "mp: an argument does not convert to the type of its parameter");
    return static_cast<to>(static_cast<A&&>(a));
  }
}

/// A handle that was passed with std::move is the caller's no more.
template <class P, class A>
void drop_handed_over(A&& a) {
  using bare = std::remove_cvref_t<A>;
  if constexpr (!std::is_lvalue_reference_v<A> && !std::is_const_v<std::remove_reference_t<A>> &&
                std::is_same_v<bare, stored<P>> && contains_handle<bare>) [[maybe_unused]]
    const bare gone(std::move(a));
}

// ---- Callables

template <class F>
inline constexpr bool is_function_pointer = std::is_pointer_v<F>&& std::is_function_v<std::remove_pointer_t<F>>;

/// Functions, members and functors without state travel as places in code, other functors as their members.
template <class F>
inline constexpr bool can_travel_as_callable = is_function_pointer<F> || std::is_member_function_pointer_v<F> ||
                                               (std::is_class_v<F> &&
                                                ((std::is_empty_v<F> && std::is_default_constructible_v<F>) ||
                                                 (!std::is_empty_v<F> && sendable_value<F>)));

/// Compile-time sentences for what cannot be called elsewhere; check_result: for what cannot come back.
template <class F>
constexpr void check_callable() {
  static_assert(!is_a<F, std::reference_wrapper>,
                "mp: std::ref means nothing in another process; pass the callable itself");
  static_assert(!std::is_pointer_v<F> || is_function_pointer<F>,
                "mp: a pointer to an object means nothing in another process; pass the callable itself");
  static_assert(!std::is_member_object_pointer_v<F>, "mp: a pointer to a data member is no task; wrap it in a lambda");
  static_assert(!std::is_class_v<F> || !function_shape<F>,
                "mp: std::function and std::bind hide what they hold; pass the function and its arguments");
  static_assert(!std::is_class_v<F> || !std::is_empty_v<F> || std::is_default_constructible_v<F>,
                "mp: a function object without state must be default-constructible to be made in another process");
  static_assert(!std::is_class_v<F> || std::is_empty_v<F> || function_shape<F> || is_a<F, std::reference_wrapper> ||
                    sendable_value<F>,
                "mp: a callable with captures cannot travel; pass what it needs as arguments, or make it an aggregate "
                "with operator() and known members");
  static_assert(std::is_class_v<F> || std::is_pointer_v<F> || std::is_member_pointer_v<F>, "mp: this is no callable");
}

template <class R>
constexpr void check_result() {
  static_assert(std::is_void_v<R> || sendable_value<R>,
                "mp: the result cannot travel: pointers, references and views mean nothing in another process; return "
                "a value that the codec knows");
}

}  // namespace mp::detail
