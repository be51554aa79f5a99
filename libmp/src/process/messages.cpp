// Failures and other messages between parent and child. Must survive exceptions whose what() throws.

#include "process/messages.hpp"

#include "mp/codec.hpp"
#include "mp/error.hpp"

#include <cxxabi.h>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <typeinfo>

namespace mp::detail {
namespace {

std::string demangled(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status),
                                                    std::free);
  return text ? text.get() : type.name();
}

std::string current_type_name() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  return type ? demangled(*type) : "a foreign exception";
}

struct one_cause {
  mp::cause cause;
  std::exception_ptr next;
};

one_cause look_at(std::exception_ptr problem) {
  one_cause found;
  try {
    std::rethrow_exception(std::move(problem));
  } catch (const std::exception& e) {
    found.cause = {current_type_name(), e.what()};
    // rethrow_if_nested terminates on a wrapper that wraps nothing.
    const auto* nested = dynamic_cast<const std::nested_exception*>(&e);
    if (nested) found.next = nested->nested_ptr();
  } catch (const std::string& text) {
    found.cause = {"std::string", text};
  } catch (const char* text) {
    found.cause = {"const char*", text ? text : ""};
  } catch (int number) {
    found.cause = {"int", std::to_string(number)};
  } catch (...) {
    found.cause = {current_type_name(), {}};
  }
  return found;
}

template <class Handler>
struct handler_registry {
  struct entry {
    os::control_kind kind{};
    Handler handler = nullptr;
  };
  std::array<entry, 16> entries{};
  std::atomic<std::size_t> count{0};

  void add(os::control_kind kind, Handler handler) {
    const std::size_t i = count.fetch_add(1, std::memory_order_acq_rel);
    if (i >= entries.size()) throw_error(errc::out_of_resources, "no more than 16 kinds of control messages");
    entries[i] = {kind, handler};
  }
  Handler find(os::control_kind kind) const noexcept {
    for (const entry& e : entries)
      if (e.handler && e.kind == kind) return e.handler;
    return nullptr;
  }
};
handler_registry<parent_handler> in_parent;
handler_registry<child_handler> in_child;

}  // namespace

mp::failure describe_exception(std::exception_ptr problem) noexcept {
  mp::failure result;
  try {
    one_cause found = look_at(std::move(problem));
    result.type_name = std::move(found.cause.type_name);
    result.what = std::move(found.cause.what);
    while (found.next && result.nested.size() < 64) {
      found = look_at(std::move(found.next));
      result.nested.push_back(std::move(found.cause));
    }
  } catch (...) {
    // No memory, or a what() that throws: what is known so far has to do.
  }
  return result;
}

std::vector<std::byte> encode_failure(const mp::failure& f) { return encode_to_buffer(f).bytes; }

mp::failure decode_failure(std::span<const std::byte> bytes) {
  decoder in(bytes);
  auto f = decode<mp::failure>(in);
  in.finish();
  return f;
}

bool is_crash_signal(int signal) noexcept {
  switch (signal) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGABRT:
    case SIGSYS:
    case SIGTRAP: return true;
    default: return false;
  }
}

void on_message_in_parent(os::control_kind kind, parent_handler handler) { in_parent.add(kind, handler); }
void on_message_in_child(os::control_kind kind, child_handler handler) { in_child.add(kind, handler); }

void deliver_to_parent(child& from, os::control_message&& message) {
  if (const auto handler = in_parent.find(message.kind)) handler(from, std::move(message));
}

void deliver_to_child(os::control_message&& message) {
  if (const auto handler = in_child.find(message.kind)) handler(std::move(message));
}

}  // namespace mp::detail
