// Names for addresses. Must be satisfied with what symbol tables say: lines are for debuggers.

#include "process/symbols.hpp"

#include "os/crash.hpp"
#include "os/modules.hpp"
#include "os/signals.hpp"
#include "process/elf_names.hpp"
#include "process/messages.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace mp::detail {
namespace {

std::string hexadecimal(std::uintptr_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%zx", static_cast<std::size_t>(number));
  return text;
}

std::string readable(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  return text ? text.get() : symbol;
}

struct named_frame {
  std::string symbol;  // as the linker knows it; may be empty
  std::string text;    // for people
};

named_frame name_frame(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || !info.dli_fname) return {{}, hexadecimal(at)};
  const auto offset = at - reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  const os::module* module = os::find_module(at);
  // The program's own file may have been replaced by now; the kernel still has the one that runs.
  const char* path = module && module->path[0] == '\0' ? "/proc/self/exe" : info.dli_fname;
  elf_function function = find_function(path, module ? at - module->base : offset);
  if (function.name.empty() && info.dli_sname)
    function = {info.dli_sname, at - reinterpret_cast<std::uintptr_t>(info.dli_saddr)};
  const char* slash = std::strrchr(info.dli_fname, '/');
  const std::string file = slash ? slash + 1 : info.dli_fname;
  if (function.name.empty()) return {{}, file + "+" + hexadecimal(offset)};
  return {function.name, readable(function.name) + "+" + hexadecimal(function.offset) + " in " + file};
}

// What lies between a user's function and the signal or throw, and between the user's function and main, is ours and
// the runtime's: it explains nothing.
std::string as_text(const std::vector<named_frame>& frames) {
  const auto is = [](const named_frame& f, std::string_view name) { return f.symbol == name; };
  auto first = frames.begin();
  for (auto at = frames.begin(); at != frames.end(); ++at)
    if (is(*at, "__cxa_throw") || is(*at, "__cxa_rethrow") ||
        is(*at, "_ZSt17rethrow_exceptionNSt15__exception_ptr13exception_ptrE"))
      first = at + 1;
  const auto last = std::find_if(first, frames.end(), [](const named_frame& f) {
    return f.symbol.find("run_arrived") != std::string::npos || f.symbol.find("os11call_traced") != std::string::npos;
  });
  std::string text;
  int number = 0;
  for (auto at = first; at != last; ++at) text += '#' + std::to_string(number++) + ' ' + at->text + '\n';
  return text;
}

}  // namespace

std::string name_addresses(std::span<void* const> addresses) {
  std::vector<named_frame> frames;
  // A return address names the instruction after the call: one less is inside the caller.
  for (void* address : addresses) frames.push_back(name_frame(static_cast<const char*>(address) - 1));
  return as_text(frames);
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
  std::vector<named_frame> frames;
  for (std::size_t i = 0; i < std::min<std::size_t>(record.frame_count, record.frames.size()); ++i) {
    const auto& frame = record.frames[i];
    const auto all = os::modules();
    const auto module = std::find_if(
        all.begin(), all.end(), [&](const os::module& m) { return frame.module != 0 && m.name_hash == frame.module; });
    // The first address is the crash itself, the others are return addresses.
    if (module != all.end())
      frames.push_back(name_frame(reinterpret_cast<const void*>(module->base + frame.offset - (i == 0 ? 0 : 1))));
    else
      frames.push_back({{}, hexadecimal(frame.offset)});
  }
  f.backtrace = as_text(frames);
  return f;
}

}  // namespace mp::detail
