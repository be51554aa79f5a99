#pragma once
// Catch2 under one name: version 2.13 (Debian 12) and version 3. Tests include this and nothing else of Catch2.

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>  // IWYU pragma: export
using Catch::Matchers::ContainsSubstring;
namespace mp_test {
inline auto contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
inline auto starts_with(const std::string& text) { return Catch::Matchers::StartsWith(text); }
}  // namespace mp_test
#else
#include <catch2/catch.hpp>  // IWYU pragma: export
namespace mp_test {
inline auto contains(const std::string& text) { return Catch::Matchers::Contains(text); }
inline auto starts_with(const std::string& text) { return Catch::Matchers::StartsWith(text); }
}  // namespace mp_test
#endif

#include "mp/error.hpp"
#include "support/sanitizers.hpp"

#include <iostream>
#include <optional>

namespace mp_test {

/// The code of the mp::error that `f()` throws; nullopt if it throws nothing. Anything else that it throws passes.
template <class F>
std::optional<mp::errc> errc_of(F&& f) {
  try {
    static_cast<void>(static_cast<F&&>(f)());
  } catch (const mp::error& e) {
    if (e.code().category() == mp::category()) return static_cast<mp::errc>(e.code().value());
    throw;
  }
  return std::nullopt;
}

/// The text of the mp::error that `f()` throws; empty if it throws nothing.
template <class F>
std::string what_of(F&& f) {
  try {
    static_cast<void>(static_cast<F&&>(f)());
  } catch (const mp::error& e) {
    return e.what();
  }
  return {};
}

}  // namespace mp_test

/// `expression` throws mp::error with `errc::code`.
#define CHECK_ERRC(expression, code_name) \
  CHECK(::mp_test::errc_of([&] { return (void)(expression), 0; }) == ::mp::errc::code_name)
#define REQUIRE_ERRC(expression, code_name) \
  REQUIRE(::mp_test::errc_of([&] { return (void)(expression), 0; }) == ::mp::errc::code_name)

/// Leaves the test case because this machine cannot run it; ./tests/run prints every such line.
#define MP_SKIP(reason)                              \
  do {                                               \
    std::cout << "skipped: " << reason << std::endl; \
    return;                                          \
  } while (false)
