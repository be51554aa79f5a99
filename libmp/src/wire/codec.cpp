// Refusals of single values. Must never make a system call: this floor knows bytes only.

#include "mp/codec.hpp"

#include "mp/error.hpp"

#include <cxxabi.h>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace mp::detail {
namespace {

std::string name_of_current_exception() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (!type) return "an exception of another language";
  int status = 0;
  char* text = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  std::string name = status == 0 ? text : type->name();
  std::free(text);
  return name;
}

}  // namespace

encoded encode_by(void (*write)(encoder&, const void*), const void* context) {
  encoded message;
  std::byte small[512];  // most messages fit, and then are written once
  encoder first(small);
  write(first, context);
  message.bytes.resize(first.size());
  message.fds = std::move(first.attachments());
  if (first.overflowed()) {
    encoder second = encoder::second_pass(message.bytes, std::move(message.fds));
    write(second, context);
    message.fds = std::move(second.attachments());
  } else if (first.size() != 0) {
    std::memcpy(message.bytes.data(), small, first.size());
  }
  return message;
}

void throw_unencodable(const char* why) {
  throw_error(errc::unencodable, std::string("the value cannot be sent: it holds ") + why);
}

void rethrow_undecodable(std::string_view type) {
  std::string text = "the message cannot be read as " + std::string(type) + ": ";
  try {
    throw;
  } catch (const abi::__forced_unwind&) {
    throw;  // pthread_cancel must go on
  } catch (const error& e) {
    if (e.code() == errc::undecodable) throw;
    text += e.what();
  } catch (const std::exception& e) {
    text += name_of_current_exception() + ": " + e.what();
  } catch (...) {
    text += name_of_current_exception();
  }
  throw_error(errc::undecodable, text);
}

}  // namespace mp::detail
