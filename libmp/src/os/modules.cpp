// The running image. Must never open it by its path: the file there may be another build by now.

#include "os/modules.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <string_view>

namespace mp::os {
namespace {

constexpr std::size_t max_modules = 192;  // what is beyond has no names in backtraces, and its build is not compared
std::array<module, max_modules> table;
std::size_t module_count = 0;
int image_file = -1;

std::uint64_t hash(const void* bytes, std::size_t n, std::uint64_t seed = 0xcbf29ce484222325u) noexcept {
  const auto* at = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < n; ++i) seed = (seed ^ at[i]) * 0x100000001b3u;
  return seed;
}

// The build-id note, if the module has one.
bool hash_build_id(const dl_phdr_info& info, std::uint64_t& out) noexcept {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& segment = info.dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const std::size_t align = segment.p_align == 8 ? 8 : 4;
    const auto padded = [align](std::size_t n) { return (n + align - 1) / align * align; };
    const char* at = reinterpret_cast<const char*>(info.dlpi_addr + segment.p_vaddr);
    const char* const end = at + segment.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* const name = at + sizeof note;
      const char* const body = name + padded(note.n_namesz);
      if (body + note.n_descsz > end) break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        out = hash(body, note.n_descsz);
        return true;
      }
      at = body + padded(note.n_descsz);
    }
  }
  return false;
}

int add_module(dl_phdr_info* info, std::size_t, void*) noexcept {
  if (module_count == max_modules) return 1;
  module& m = table[module_count];
  m.base = info->dlpi_addr;
  m.begin = UINTPTR_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD) continue;
    m.begin = std::min<std::uintptr_t>(m.begin, m.base + segment.p_vaddr);
    m.end = std::max<std::uintptr_t>(m.end, m.base + segment.p_vaddr + segment.p_memsz);
  }
  const std::string_view path = info->dlpi_name ? info->dlpi_name : "";
  path.copy(m.path, sizeof m.path - 1);
  const auto file = path.substr(path.rfind('/') + 1);
  m.name_hash = module_count == 0 ? 1 : hash(file.data(), file.size());
  if (!hash_build_id(*info, m.build_hash)) m.build_hash = hash(info->dlpi_phdr, info->dlpi_phnum * sizeof(ElfW(Phdr)));
  ++module_count;
  return 0;
}

}  // namespace

void remember_image() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    int fd = ::open("/proc/self/exe", O_PATH | O_CLOEXEC);
    // Never one of the three standard numbers, which programs close and reopen at will.
    if (fd >= 0 && fd < 3) {
      const int above = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
      ::close(fd);
      fd = above;
    }
    image_file = fd;
    ::dl_iterate_phdr(add_module, nullptr);
  });
}

int image_fd() noexcept { return image_file; }

std::span<const module> modules() noexcept { return {table.data(), module_count}; }

const module* find_module(std::uintptr_t address) noexcept {
  for (const module& m : modules())
    if (address >= m.begin && address < m.end) return &m;
  return nullptr;
}

std::vector<build_mark> build_marks() {
  std::vector<build_mark> marks;
  marks.reserve(module_count);
  for (const module& m : modules()) marks.push_back({m.name_hash, m.build_hash});
  return marks;
}

std::string different_module(std::span<const build_mark> theirs) {
  for (const build_mark& mark : theirs)
    for (const module& m : modules())
      if (m.name_hash == mark.name_hash && m.build_hash != mark.build_hash)
        return m.path[0] != '\0' ? m.path : "the program itself";
  return {};
}

}  // namespace mp::os
