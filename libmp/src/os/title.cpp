// The command line of a process. Must leave the memory of the old one alone: statics and libc point into it.

#include "os/title.hpp"

#include "os/proc.hpp"

#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace mp::os {
namespace {

// Fields of /proc/self/stat, as proc(5) numbers them; 0 where they are not there.
std::uint64_t field(const std::string& stat, int number) noexcept {
  std::size_t at = stat.rfind(')');  // the name may hold blanks
  if (at == std::string::npos) return 0;
  for (int n = 2; n < number; ++n) {
    at = stat.find(' ', at + 1);
    if (at == std::string::npos) return 0;
  }
  return std::strtoull(stat.c_str() + at + 1, nullptr, 10);
}

}  // namespace

bool set_title(std::string_view title) noexcept {
  constexpr std::size_t room = 4096;
  try {
    const std::string stat = read_file("/proc/self/stat");
    prctl_mm_map map{};
    map.start_code = field(stat, 26);
    map.end_code = field(stat, 27);
    map.start_stack = field(stat, 28);
    map.start_data = field(stat, 45);
    map.end_data = field(stat, 46);
    map.start_brk = field(stat, 47);
    map.env_start = field(stat, 50);
    map.env_end = field(stat, 51);
    if (map.start_code == 0 || map.env_end == 0) return false;
    map.brk = reinterpret_cast<std::uintptr_t>(::sbrk(0));
    map.exe_fd = static_cast<std::uint32_t>(-1);
    void* const place = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) return false;
    const std::size_t n = std::min(title.size(), room - 1);
    std::memcpy(place, title.data(), n);
    map.arg_start = reinterpret_cast<std::uintptr_t>(place);
    map.arg_end = map.arg_start + n + 1;
    if (::prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) == 0) return true;
    ::munmap(place, room);
  } catch (...) {
  }
  return false;
}

}  // namespace mp::os
