// Exceptions on their way between processes. Must never throw anything but what arrived: what is garbled or cannot
// travel becomes an error that says so.

#include "mp/remote_error.hpp"

#include "os/throw_trace.hpp"
#include "process/messages.hpp"
#include "process/symbols.hpp"

#include <cxxabi.h>
#include <any>
#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <typeinfo>
#include <variant>

namespace mp {

remote_error::~remote_error() = default;

namespace {

std::string describe(errc code, const std::vector<mp::post_mortem>& deaths) {
  const mp::post_mortem& last = deaths.back();
  std::string text = last.function.empty() ? "the task" : last.function;
  text += " (task " + std::to_string(last.task) + ")";
  switch (code) {
    case errc::deadline_exceeded: text += " exceeded its deadline and its worker was ended"; break;
    case errc::cancelled: text += " was cancelled and its worker was ended"; break;
    case errc::task_poisoned: text += " ended " + std::to_string(deaths.size()) + " workers"; break;
    default: text += " ended its worker"; break;
  }
  text += ": " + last.process_name + " (pid " + std::to_string(last.pid) + ") " + to_string(last.status);
  if (last.why == death::memory_limit) text += ", beyond its memory limit";
  if (last.why == death::oom_killer) text += ", by the kernel for lack of memory";
  if (!last.failure.what.empty()) text += "; " + last.failure.what;
  return text;
}

}  // namespace

const mp::post_mortem& worker_died::post_mortem() const noexcept { return deaths_.back(); }
std::span<const mp::post_mortem> worker_died::deaths() const noexcept { return deaths_; }

worker_died::worker_died(errc code, std::vector<mp::post_mortem> deaths)
    : error(code, describe(code, deaths)), deaths_(std::move(deaths)) {}

namespace detail {
namespace {

constexpr std::uint64_t way_unknown = 0;

// -- the standard's types

template <class E>
E with_text(const std::string& text) {
  if constexpr (std::is_constructible_v<E, const std::string&>)
    return E(text);
  else
    return E();
}

/// A standard type without a place for a text: it carries the task's own.
template <class E>
class with_own_text : public E {
public:
  explicit with_own_text(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

private:
  std::string text_;
};

template <class E>
exception_way standard_way() {
  return {hash_text(type_name<E>()), &typeid(E), [](encoder&, const void*) {},
          [](decoder&, remote_error&& origin) {
            const std::string text = origin.failure().what;
            if constexpr (std::is_constructible_v<E, const std::string&>)
              throw remote<E>(E(text), std::move(origin));
            else
              throw remote<with_own_text<E>>(with_own_text<E>(text), std::move(origin));
          }};
}

const std::error_category* category_named(std::string_view name) noexcept {
  for (const std::error_category* c : {&category(), &std::generic_category(), &std::system_category(),
                                       &std::iostream_category(), &std::future_category()})
    if (name == c->name()) return c;
  return nullptr;
}

void write_code(encoder& e, const std::error_code& code) {
  write_value(e, std::string(code.category().name()));
  write_value(e, code.value());
}
// An unknown category keeps its number nowhere: the text says what it meant.
std::optional<std::error_code> read_code(decoder& d) {
  const auto name = decode<std::string>(d);
  const auto value = decode<int>(d);
  if (const auto* c = category_named(name)) return std::error_code(value, *c);
  return std::nullopt;
}

/// system_error's what() adds the code's message to the text: this one keeps the text as it was.
class remote_system_error final : public std::system_error, public remote_error {
public:
  remote_system_error(std::error_code code, remote_error&& origin)
      : std::system_error(code), remote_error(std::move(origin)) {}
  const char* what() const noexcept override { return failure().what.c_str(); }
};

exception_way system_error_way() {
  return {hash_text("std::system_error"), &typeid(std::system_error),
          [](encoder& e, const void* p) { write_code(e, static_cast<const std::system_error*>(p)->code()); },
          [](decoder& d, remote_error&& origin) {
            if (const auto code = read_code(d)) throw remote_system_error(*code, std::move(origin));
            const std::string text = origin.failure().what;
            throw remote<error>(error(errc::task_threw, text), std::move(origin));
          }};
}

exception_way error_way() {
  return {hash_text("mp::error"), &typeid(error),
          [](encoder& e, const void* p) {
            const auto& problem = *static_cast<const error*>(p);
            write_value(e, problem.code().value());
            write_code(e, problem.cause());
          },
          [](decoder& d, remote_error&& origin) {
            const auto code = static_cast<errc>(decode<int>(d));
            const auto cause = read_code(d);
            const std::string text = origin.failure().what;
            throw remote<error>(error(code, text, cause.value_or(std::error_code())), std::move(origin));
          }};
}

// -- the registry: filled before main, read without a lock

struct ways {
  std::array<exception_way, 256> all;
  std::atomic<std::size_t> count{0};

  ways() {
    add(standard_way<std::exception>());
    add(standard_way<std::logic_error>());
    add(standard_way<std::invalid_argument>());
    add(standard_way<std::domain_error>());
    add(standard_way<std::length_error>());
    add(standard_way<std::out_of_range>());
    add(standard_way<std::runtime_error>());
    add(standard_way<std::range_error>());
    add(standard_way<std::overflow_error>());
    add(standard_way<std::underflow_error>());
    add(standard_way<std::bad_alloc>());
    add(standard_way<std::bad_array_new_length>());
    add(standard_way<std::bad_cast>());
    add(standard_way<std::bad_typeid>());
    add(standard_way<std::bad_any_cast>());
    add(standard_way<std::bad_exception>());
    add(standard_way<std::bad_function_call>());
    add(standard_way<std::bad_optional_access>());
    add(standard_way<std::bad_variant_access>());
    add(standard_way<std::bad_weak_ptr>());
    add(system_error_way());
    add(error_way());
  }
  void add(const exception_way& way) noexcept {
    const std::size_t i = count.load(std::memory_order_relaxed);
    if (i == all.size()) return;  // then it arrives as task_threw
    all[i] = way;
    count.store(i + 1, std::memory_order_release);
  }
  template <class Wanted>
  const exception_way* find(Wanted wanted) const noexcept {
    // Backwards: a user's hook wins.
    for (std::size_t i = count.load(std::memory_order_acquire); i-- > 0;)
      if (wanted(all[i])) return &all[i];
    return nullptr;
  }
};
ways& all_ways() {
  static auto* const made = new ways;  // static destructors may still throw
  return *made;
}

// The object of the exception that is being handled, as its own type.
const void* current_object() noexcept {
  // Itanium C++ ABI: the caught object's address is what an exception_ptr holds.
  const std::exception_ptr now = std::current_exception();
  const void* object = nullptr;
  static_assert(sizeof now == sizeof object);
  __builtin_memcpy(&object, &now, sizeof object);
  return object;
}

}  // namespace

void add_exception_way(const exception_way& way) noexcept {
  try {
    all_ways().add(way);
  } catch (...) {
    // No memory before main: it arrives as task_threw.
  }
}

std::vector<std::byte> encode_exception(std::exception_ptr problem, std::string backtrace) noexcept {
  try {
    mp::failure why = describe_exception(problem);
    why.backtrace = std::move(backtrace);
    const exception_way* way = nullptr;
    encoded body;
    try {
      std::rethrow_exception(problem);
    } catch (...) {
      const std::type_info* type = abi::__cxa_current_exception_type();
      if (type) way = all_ways().find([type](const exception_way& w) { return *w.info == *type; });
      try {
        if (way) body = encode_with([&](encoder& e) { way->encode(e, current_object()); });
        if (!body.fds.empty()) way = nullptr;  // an exception owns no descriptors
      } catch (...) {
        way = nullptr;
      }
    }
    return encode_with([&](encoder& e) {
             write_value(e, why);
             write_value(e, way ? way->type : way_unknown);
             if (way) e.raw(body.bytes.data(), body.bytes.size());
           })
        .bytes;
  } catch (...) {
    return {};  // no memory: an empty one is read as "threw something"
  }
}

std::exception_ptr decode_exception(std::span<const std::byte> bytes, task_id task, int attempt,
                                    std::string worker) noexcept {
  try {
    mp::failure why;
    const exception_way* way = nullptr;
    decoder d(bytes);
    if (bytes.empty()) {
      why.what = "the task threw, and there was no memory to say what";
    } else {
      why = decode<mp::failure>(d);
      const auto type = decode<std::uint64_t>(d);
      if (type != way_unknown) way = all_ways().find([type](const exception_way& w) { return w.type == type; });
    }
    remote_error origin(why, task, attempt, std::move(worker));
    if (way) {
      try {
        way->raise(d, remote_error(origin));
      } catch (const remote_error&) {
        throw;
      } catch (const std::exception&) {
        // Its decoding failed: what is known of it is in the failure.
      }
    }
    const std::string text = why.what.empty() ? why.type_name : why.what;
    throw remote<error>(error(errc::task_threw, text.empty() ? "the task threw something without a text" : text),
                        std::move(origin));
  } catch (...) {
    return std::current_exception();
  }
}

namespace {

struct kept_exception {
  std::vector<std::byte> bytes;
  task_id task;
  int attempt;
  std::string worker;
};

}  // namespace

std::exception_ptr keep_exception(std::span<const std::byte> bytes, task_id task, int attempt,
                                  std::string worker) noexcept {
  try {
    return std::make_exception_ptr(kept_exception{{bytes.begin(), bytes.end()}, task, attempt, std::move(worker)});
  } catch (...) {
    return std::current_exception();
  }
}

std::exception_ptr open_exception(std::exception_ptr kept) noexcept {
  try {
    std::rethrow_exception(kept);
  } catch (kept_exception& k) {
    return decode_exception(k.bytes, k.task, k.attempt, std::move(k.worker));
  } catch (...) {
    return kept;
  }
}

std::exception_ptr call_caught(void (*f)(void*), void* context, std::string& backtrace) noexcept {
  os::throw_trace trace;
  try {
    os::call_traced(trace, f, context);
    return nullptr;
  } catch (...) {
    try {
      backtrace = name_addresses(trace.frames());
    } catch (...) {
      backtrace.clear();
    }
    return std::current_exception();
  }
}

}  // namespace detail
}  // namespace mp
