// Calls as bytes and back to code. Must never call an address that was not found in an executable segment of the very
// build that sent it.

#include "mp/detail/call.hpp"

#include "mp/error.hpp"
#include "os/code.hpp"
#include "os/per_thread.hpp"
#include "process/elf_names.hpp"

#include <cxxabi.h>
#include <cstdlib>
#include <memory>
#include <string>
#include <unordered_map>

namespace mp::detail {

call_target locate(std::uintptr_t code) {
  os::code_place place;
  if (!os::locate_code(code, place))
    throw_error(errc::invalid_argument, "the function lies in no loaded module; code made at run time cannot travel");
  return {place.build, place.offset, std::move(place.module)};
}

std::uintptr_t resolve(const call_target& target) {
  std::uintptr_t address = 0;
  std::string problem;
  switch (os::find_code({target.build_id, target.offset, target.module}, address, problem)) {
    case os::code_status::found: break;
    case os::code_status::no_module:
    case os::code_status::other_build: throw_error(errc::version_mismatch, "the call cannot run here: " + problem);
    case os::code_status::not_code: throw_error(errc::undecodable, "the call cannot run here: " + problem);
  }
  return address;
}

std::string name_function(std::uintptr_t code, std::string_view type) {
  // Reading a symbol table costs milliseconds, so each thread asks once a function.
  auto& names = os::per_thread<std::unordered_map<std::uintptr_t, std::string>>();
  const auto [it, is_new] = names.try_emplace(code, type);
  if (!is_new) return it->second;
  os::code_place place;
  if (!os::locate_code(code, place)) return it->second;
  // The running image under its own name, which stays right when the file is replaced.
  const elf_function found =
      find_function(place.module.empty() ? "/proc/self/exe" : place.module.c_str(), place.offset);
  if (!found.name.empty() && found.offset == 0) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(found.name.c_str(), nullptr, nullptr, &status), &std::free);
    it->second = status == 0 ? name.get() : found.name;
  }
  return it->second;
}

namespace {

void write_call(encoder& e, const bound_call& call) {
  write_value(e, call.target);
  write_value(e, call.wants_stop_token);
  write_value(e, call.function);
  write_value(e, call.arguments);
}

}  // namespace

void write_location(encoder& e, std::uintptr_t code) { write_value(e, locate(code)); }
std::uintptr_t read_location(decoder& d) { return resolve(read_value<call_target>(d)); }

bound_call make_call(encoded&& arguments, const call_target& target, bool wants_stop_token, std::uintptr_t code,
                     std::string_view type) {
  bound_call call;
  call.target = target;
  call.arguments = std::move(arguments.bytes);
  call.fds = std::move(arguments.fds);
  call.wants_stop_token = wants_stop_token;
  call.function = code != 0 ? name_function(code, type) : std::string(type);
  return call;
}

encoded serialise_call(const bound_call& call) {
  call.fds.check_process("a task that holds handles");
  encoded message = encode_with([&call](encoder& e) { write_call(e, call); });
  message.fds.reserve(call.fds.size());
  for (const unique_fd& fd : call.fds) message.fds.push_back(duplicate(fd));
  return message;
}

bool wants_stop_token(std::span<const std::byte> bytes) {
  decoder d(bytes);
  static_cast<void>(decode<call_target>(d));
  return decode<bool>(d);
}

std::unique_ptr<bound_call> parse_call(std::span<const std::byte> bytes, std::vector<unique_fd> fds) {
  auto call = std::make_unique<bound_call>();
  decoder d(bytes);
  call->target = decode<call_target>(d);
  call->wants_stop_token = decode<bool>(d);
  call->function = decode<std::string>(d);
  call->arguments = decode<std::vector<std::byte>>(d);
  d.finish();
  call->fds = std::move(fds);
  return call;
}

void run_call(bound_call& call, std::stop_token stop, result_sink* result) {
  const auto run = reinterpret_cast<thunk>(resolve(call.target));
  decoder arguments(call.arguments, call.fds.release());
  invocation in{arguments, std::move(stop), result};
  run(in);
}

}  // namespace mp::detail
