// Exceptions that travel: encoded and decoded within one process.

#include "mp/remote_error.hpp"

#include "support/catch.hpp"

#include <any>
#include <cerrno>
#include <future>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <variant>

namespace {

struct unhooked : std::runtime_error {
  unhooked() : std::runtime_error("of a type that nobody knows there") {}
};
struct bad_input {
  int line = 0;
  std::string text;
};
const mp::exception_hook<bad_input> hook;

struct hooked_error final {
  int ignored = 0;
};

[[gnu::noinline]] void throw_here() { throw std::out_of_range("too far"); }

// What f throws, as it arrives elsewhere.
template <class F>
std::exception_ptr travelled(F f) {
  std::string backtrace;
  const auto problem = mp::detail::call_caught([](void* p) { (*static_cast<F*>(p))(); }, &f, backtrace);
  REQUIRE(problem);
  const auto bytes = mp::detail::encode_exception(problem, backtrace);
  return mp::detail::decode_exception(bytes, 7, 2, "pool worker 3");
}

template <class E>
void check_standard(const E& thrown) {
  CAPTURE(mp::detail::type_name<E>());
  const auto arrived = travelled([&] { throw thrown; });
  try {
    std::rethrow_exception(arrived);
  } catch (const E& e) {
    CHECK(std::string(e.what()) == thrown.what());
  } catch (...) {
    FAIL("another type");
  }
  try {
    std::rethrow_exception(arrived);
  } catch (const mp::remote_error& e) {
    CHECK(e.failure().what == thrown.what());
    CHECK(e.task() == 7);
    CHECK(e.attempt() == 2);
    CHECK(e.worker() == "pool worker 3");
  } catch (...) {
    FAIL("no remote_error");
  }
  CHECK_THROWS_AS(std::rethrow_exception(arrived), std::exception);
}

}  // namespace

TEST_CASE("remote_error: standard exceptions arrive as themselves and as remote_error", "[remote_error][unit]") {
  check_standard(std::logic_error("a"));
  check_standard(std::invalid_argument("b"));
  check_standard(std::domain_error("c"));
  check_standard(std::length_error("d"));
  check_standard(std::out_of_range("e"));
  check_standard(std::runtime_error("f"));
  check_standard(std::range_error("g"));
  check_standard(std::overflow_error("h"));
  check_standard(std::underflow_error("i"));
  check_standard(std::exception());
  check_standard(std::bad_alloc());
  check_standard(std::bad_cast());
  check_standard(std::bad_any_cast());
  check_standard(std::bad_optional_access());
  check_standard(std::bad_variant_access());
  check_standard(std::system_error(EPERM, std::generic_category(), "open"));
}

TEST_CASE("remote_error: codes survive", "[remote_error][unit]") {
  try {
    std::rethrow_exception(travelled([] { throw std::system_error(ENOENT, std::system_category(), "open"); }));
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::no_such_file_or_directory);
  }
  CHECK_ERRC(std::rethrow_exception(travelled([] { throw mp::error(mp::errc::too_large, "big"); })), too_large);
}

TEST_CASE("remote_error: a hooked type arrives as itself, with its fields", "[remote_error][unit]") {
  try {
    std::rethrow_exception(travelled([] { throw bad_input{12, "x"}; }));
  } catch (const bad_input& e) {
    CHECK(e.line == 12);
    CHECK(e.text == "x");
  }
  CHECK_THROWS_AS(std::rethrow_exception(travelled([] { throw bad_input{}; })), mp::remote_error);
}

TEST_CASE("remote_error: what cannot travel is task_threw and keeps its text", "[remote_error][unit]") {
  try {
    std::rethrow_exception(travelled([] { throw unhooked(); }));
  } catch (const mp::error& e) {
    CHECK(e.code() == mp::errc::task_threw);
    CHECK(std::string(e.what()) == "of a type that nobody knows there");
    CHECK_THAT(dynamic_cast<const mp::remote_error&>(e).failure().type_name, mp_test::contains("unhooked"));
  }
  CHECK_ERRC(std::rethrow_exception(travelled([] { throw 42; })), task_threw);
  CHECK_ERRC(std::rethrow_exception(travelled([] { throw hooked_error{}; })), task_threw);
}

TEST_CASE("remote_error: nested causes and the place of the throw come along", "[remote_error][unit]") {
  try {
    std::rethrow_exception(travelled([] {
      try {
        throw_here();
      } catch (...) {
        std::throw_with_nested(std::runtime_error("outer"));
      }
    }));
  } catch (const mp::remote_error& e) {
    REQUIRE(e.failure().nested.size() == 1);
    CHECK(e.failure().nested[0].what == "too far");
  }
  try {
    std::rethrow_exception(travelled([] { throw_here(); }));
  } catch (const mp::remote_error& e) {
    CHECK_THAT(e.failure().backtrace, mp_test::contains("throw_here"));
  }
}

TEST_CASE("remote_error: garbled bytes are an error, too", "[remote_error][unit]") {
  const auto whole = mp::detail::encode_exception(std::make_exception_ptr(std::runtime_error("text")), "");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto e = mp::detail::decode_exception(std::span(whole).first(n), 1, 1, "w");
    CHECK_THROWS_AS(std::rethrow_exception(e), mp::error);
  }
}

TEST_CASE("worker_died: says who died of what", "[remote_error][unit]") {
  mp::post_mortem death;
  death.status = mp::exit_status::signaled(11, true);
  death.process_name = "pool worker 2";
  death.pid = 77;
  death.task = 5;
  death.function = "work(int)";
  const mp::worker_died e(mp::errc::worker_died, {death});
  CHECK(e.code() == mp::errc::worker_died);
  CHECK(std::string(e.what()) ==
        "work(int) (task 5) ended its worker: pool worker 2 (pid 77) " + mp::to_string(death.status));
}
