// Places in code. Must never give an address that is not executable, or one in another build of the module.

#include "os/code.hpp"

#include "os/per_thread.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

namespace mp::os {
namespace {

struct segment {
  std::uintptr_t begin = 0, end = 0;
};

struct loaded_module {
  std::uintptr_t base = 0;
  build_id build{};
  std::string path;
  std::vector<segment> code;  // the executable segments

  bool has_code_at(std::uintptr_t address) const noexcept {
    return std::any_of(code.begin(), code.end(),
                       [&](const segment& s) { return address >= s.begin && address < s.end; });
  }
};

// No build-id (a linker flag): the code itself tells builds apart. Executable segments of position-independent modules
// are never written to, so they are the same in every process. 1.5 GB/s, once per thread and module.
build_id hash_code(const std::vector<segment>& code) noexcept {
  std::uint64_t lanes[2] = {0xcbf29ce484222325u, 0x9e3779b97f4a7c15u};
  for (const segment& s : code) {
    const auto* at = reinterpret_cast<const unsigned char*>(s.begin);
    std::size_t left = s.end - s.begin;
    for (; left >= 8; at += 8, left -= 8) {
      std::uint64_t word;
      std::memcpy(&word, at, 8);
      lanes[0] = (lanes[0] ^ word) * 0x100000001b3u;
      lanes[1] = ((lanes[1] << 7 | lanes[1] >> 57) + word) * 0xff51afd7ed558ccdu;
    }
    for (; left != 0; ++at, --left) lanes[0] = (lanes[0] ^ *at) * 0x100000001b3u;
  }
  build_id id{};
  std::memcpy(id.data(), lanes, sizeof lanes);
  id[16] = std::byte{1};  // never equal to a build-id that was filled up with zeros
  return id;
}

loaded_module describe(const dl_phdr_info& info) {
  loaded_module m;
  m.base = info.dlpi_addr;
  bool has_id = false;
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& header = info.dlpi_phdr[i];
    const std::uintptr_t begin = info.dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0)
      m.code.push_back({begin, begin + header.p_memsz});
    else if (header.p_type == PT_NOTE && !has_id)
      has_id = read_build_id(reinterpret_cast<const std::byte*>(begin), header.p_memsz, header.p_align, m.build);
  }
  if (!has_id) m.build = hash_code(m.code);

  m.path = info.dlpi_name ? info.dlpi_name : "";
  // A relative path means something else after the next chdir.
  if (!m.path.empty() && m.path.front() != '/' && m.path.find('/') != std::string::npos)
    if (const std::unique_ptr<char, decltype(&std::free)> full(::realpath(m.path.c_str(), nullptr), &std::free); full)
      m.path = full.get();
  return m;
}

// What is loaded, as this thread saw it last. Per thread: no lock that another thread could hold during a fork.
class code_map {
public:
  const std::vector<loaded_module>& loaded_modules() {
    changes now;
    ::dl_iterate_phdr(read_changes, &now);
    if (now.adds != seen_.adds || now.subs != seen_.subs || modules_.empty()) {
      modules_.clear();
      ::dl_iterate_phdr(add_module, &modules_);
      seen_ = now;
    }
    return modules_;
  }

private:
  struct changes {
    unsigned long long adds = 0, subs = 0;
  };
  static int read_changes(dl_phdr_info* info, std::size_t, void* out) noexcept {
    *static_cast<changes*>(out) = {info->dlpi_adds, info->dlpi_subs};
    return 1;
  }
  static int add_module(dl_phdr_info* info, std::size_t, void* out) {
    static_cast<std::vector<loaded_module>*>(out)->push_back(describe(*info));
    return 0;
  }

  changes seen_;
  std::vector<loaded_module> modules_;
};

const std::vector<loaded_module>& loaded_modules() { return per_thread<code_map>().loaded_modules(); }

// Two copies of one build may be loaded: the one of the recorded path comes first.
const loaded_module* find_build(const code_place& place) {
  const loaded_module* found = nullptr;
  for (const loaded_module& m : loaded_modules()) {
    if (m.build != place.build) continue;
    if (m.path == place.module) return &m;
    if (!found) found = &m;
  }
  return found;
}

std::string name_of(const code_place& place) { return place.module.empty() ? "the program" : place.module; }

}  // namespace

void note_modules() { static_cast<void>(loaded_modules()); }

bool read_build_id(const std::byte* bytes, std::size_t size, std::size_t alignment, build_id& out) noexcept {
  const auto padded = [&](std::size_t n) { return alignment == 8 ? (n + 7) / 8 * 8 : (n + 3) / 4 * 4; };
  ElfW(Nhdr) note;
  while (size >= sizeof note) {
    std::memcpy(&note, bytes, sizeof note);
    const std::size_t body = sizeof note + padded(note.n_namesz), next = body + padded(note.n_descsz);
    if (body + note.n_descsz > size) return false;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(bytes + sizeof note, "GNU", 4) == 0) {
      out = {};
      std::memcpy(out.data(), bytes + body, std::min<std::size_t>(out.size(), note.n_descsz));
      return note.n_descsz != 0;
    }
    if (next > size) return false;
    bytes += next;
    size -= next;
  }
  return false;
}

bool locate_code(std::uintptr_t address, code_place& out) {
  for (const loaded_module& m : loaded_modules()) {
    if (!m.has_code_at(address)) continue;
    out = {m.build, address - m.base, m.path};
    return true;
  }
  return false;
}

code_status find_code(const code_place& place, std::uintptr_t& address, std::string& problem) {
  const loaded_module* m = find_build(place);
  if (!m && !place.module.empty()) {
    const auto& all = loaded_modules();
    const bool other = std::any_of(all.begin(), all.end(), [&](const auto& l) { return l.path == place.module; });
    // Never closed again: the code is going to run, and may leave statics and threads behind.
    if (!other && ::dlopen(place.module.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
      const char* text = ::dlerror();
      problem = text ? text : name_of(place) + " cannot be opened";
      return code_status::no_module;
    }
    m = find_build(place);
  }
  if (!m) {
    problem = name_of(place) + " is another build here than where the call comes from";
    return code_status::other_build;
  }
  address = m->base + place.offset;
  if (!m->has_code_at(address)) {
    problem = "offset " + std::to_string(place.offset) + " of " + name_of(place) + " holds no code";
    return code_status::not_code;
  }
  return code_status::found;
}

}  // namespace mp::os
