#pragma once
/// @file
/// Names of functions from a module's own symbol table, static ones included: what dladdr cannot see.
///
/// Threads:  free functions.         Processes: modules of the calling one.
/// Source:   elf(5).

#include <cstdint>
#include <string>

namespace mp::detail {

/// A function of a file.
struct elf_function {
  std::string name;          // as the linker knows it; empty: not found (stripped, unreadable)
  std::uint64_t offset = 0;  // of the address inside the function
};

/// The function at `address`, which is relative to the module's base; `path` as the kernel can open it.
elf_function find_function(const char* path, std::uint64_t address);

}  // namespace mp::detail
