#pragma once
/// @file
/// Names for places in code that mean the same in another process of the same build: {build-id, offset}.
///
/// Shape:    what the dynamic linker has loaded *now* (plugins come and go), kept per thread and renewed when the linker
///           says that something changed: no lock of ours, so nothing is left locked in a forked child.
/// Threads:  thread-safe.            Processes: a place found here can be found in any process of the same build.
/// Source:   dl_iterate_phdr(3), elf(5); doc/decisions/0003-tasks-without-registration.md.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mp::os {

/// The linker's NT_GNU_BUILD_ID, cut or filled up with zeros; without one, a hash of the code itself.
using build_id = std::array<std::byte, 20>;

struct code_place {
  mp::os::build_id build{};
  std::uint64_t offset = 0;  ///< from the module's load address
  std::string module{};      ///< its path; empty: the program itself
};

enum class code_status {
  found,
  no_module,    ///< not loaded, and not there to be opened
  other_build,  ///< the module here is another build
  not_code      ///< the offset lies in no executable segment
};

/// Looks at what is loaded now, so that a forked child need not.
void note_modules();

/// False if the address lies in no executable segment of a loaded module (code made at run time).
bool locate_code(std::uintptr_t address, code_place& out);

/// The address of a place; a module that is not loaded is opened by its path, and then compared. `problem` says more
/// where the answer is not `found`.
code_status find_code(const code_place& place, std::uintptr_t& address, std::string& problem);

/// The build-id in the notes of a loaded module (`bytes`: one PT_NOTE segment); false if there is none.
bool read_build_id(const std::byte* bytes, std::size_t size, std::size_t alignment, build_id& out) noexcept;

}  // namespace mp::os
