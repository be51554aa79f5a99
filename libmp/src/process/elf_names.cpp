// Reading symbol tables. Must believe no number in the file before it was compared with the file's size.

#include "process/elf_names.hpp"

#include "mp/unique_fd.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cstddef>
#include <cstring>

namespace mp::detail {
namespace {

// A read-only view of a whole file.
class file_view {
public:
  explicit file_view(const char* path) noexcept {
    const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    struct stat info;
    if (!fd || ::fstat(fd.get(), &info) != 0 || info.st_size <= 0) return;
    void* at = ::mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (at == MAP_FAILED) return;
    data_ = static_cast<const char*>(at);
    size_ = static_cast<std::size_t>(info.st_size);
  }
  file_view(const file_view&) = delete;
  file_view& operator=(const file_view&) = delete;
  ~file_view() {
    if (data_) ::munmap(const_cast<char*>(data_), size_);
  }

  // Copies what lies at `offset`: nothing in a file need be aligned.
  template <class T>
  bool read(std::uint64_t offset, T& into) const noexcept {
    if (!data_ || offset > size_ || size_ - offset < sizeof(T)) return false;
    std::memcpy(&into, data_ + offset, sizeof(T));
    return true;
  }
  std::string text(std::uint64_t offset) const {
    if (!data_ || offset >= size_) return {};
    return {data_ + offset, ::strnlen(data_ + offset, size_ - offset)};
  }

private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace

elf_function find_function(const char* path, std::uint64_t address) {
  const file_view file(path);
  ElfW(Ehdr) header;
  if (!file.read(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return {};
  for (const unsigned wanted : {unsigned{SHT_SYMTAB}, unsigned{SHT_DYNSYM}}) {
    for (unsigned i = 0; i < header.e_shnum; ++i) {
      ElfW(Shdr) table, names;
      if (!file.read(header.e_shoff + i * sizeof table, table) || table.sh_type != wanted) continue;
      if (!file.read(header.e_shoff + table.sh_link * sizeof names, names)) continue;
      const std::uint64_t count = table.sh_size / sizeof(ElfW(Sym));
      for (std::uint64_t k = 0; k < count; ++k) {
        ElfW(Sym) symbol;
        if (!file.read(table.sh_offset + k * sizeof symbol, symbol)) break;
        if ((symbol.st_info & 0xf) != STT_FUNC || symbol.st_shndx == SHN_UNDEF || symbol.st_value > address ||
            address - symbol.st_value >= symbol.st_size)
          continue;
        return {file.text(names.sh_offset + symbol.st_name), address - symbol.st_value};
      }
    }
  }
  return {};
}

}  // namespace mp::detail
