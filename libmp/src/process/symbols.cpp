// Names for addresses. Must be satisfied with what the modules say: debug information is for debuggers.

#include "process/symbols.hpp"

#include "os/crash.hpp"
#include "os/modules.hpp"
#include "os/signals.hpp"
#include "process/messages.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace mp::detail {
namespace {

std::string hexadecimal(std::uintptr_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%zx", static_cast<std::size_t>(number));
  return text;
}

}  // namespace

std::string name_address(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || !info.dli_fname) return hexadecimal(reinterpret_cast<std::uintptr_t>(address));
  const char* slash = std::strrchr(info.dli_fname, '/');
  const std::string module = slash ? slash + 1 : info.dli_fname;
  if (!info.dli_sname) {
    const auto offset = reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(info.dli_fbase);
    return module + "+" + hexadecimal(offset);
  }
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status),
                                                        std::free);
  const auto offset = reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(info.dli_saddr);
  return std::string(readable ? readable.get() : info.dli_sname) + "+" + hexadecimal(offset) + " in " + module;
}

std::string name_addresses(std::span<void* const> addresses) {
  std::string text;
  for (std::size_t i = 0; i < addresses.size(); ++i)
    text += '#' + std::to_string(i) + ' ' + name_address(addresses[i]) + "\n";
  return text;
}

mp::failure describe_crash(std::span<const std::byte> bytes, const mp::exit_status& status) {
  mp::failure f;
  os::crash_record record;
  if (bytes.size() != sizeof record) return {.what = to_string(status)};
  std::memcpy(&record, bytes.data(), sizeof record);
  f.what = std::string(os::signal_name(record.signal));
  // si_addr means something only for faults that the kernel found.
  if (record.code > 0 && (record.signal == SIGSEGV || record.signal == SIGBUS))
    f.what += " at address " + hexadecimal(record.address);
  const std::size_t count = std::min<std::size_t>(record.frame_count, record.frames.size());
  for (std::size_t i = 0; i < count; ++i) {
    const auto& frame = record.frames[i];
    std::string name;
    for (const os::module& m : os::modules())
      if (frame.module != 0 && m.name_hash == frame.module) {
        // A return address names the instruction after the call: one less is inside the caller.
        const auto here = m.base + frame.offset - (i == 0 ? 0 : 1);
        name = name_address(reinterpret_cast<const void*>(here));
        break;
      }
    if (name.empty()) name = hexadecimal(frame.offset);
    f.backtrace += '#' + std::to_string(i) + ' ' + name + "\n";
  }
  return f;
}

}  // namespace mp::detail
