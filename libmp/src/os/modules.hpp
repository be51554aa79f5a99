#pragma once
/// @file
/// The running image and the modules loaded with it: what to exec, which build it is, where its code lies.
///
/// Shape:    a snapshot taken once at mp::init (dlopen later is not in it), in static memory, so that a crash handler
///           may read it.
/// Threads:  thread-safe after remember_image().   Processes: inherited by forks.
/// Source:   dl_iterate_phdr(3), elf(5); MEASURED E22; doc/decisions/0001-start-methods.md.

#include "mp/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mp::os {

/// One loaded module.
struct module {
  std::uintptr_t base = 0;            ///< what addresses in its file are relative to
  std::uintptr_t begin = 0, end = 0;  ///< of its segments
  std::uint64_t name_hash = 0;        ///< of the file name without its folder; the program itself: 1
  std::uint64_t build_hash = 0;       ///< of its build-id; of its headers where it has none
  char path[232] = {};                ///< empty for the program
};

/// Opens the running image and looks at the modules; once, later calls do nothing.
void remember_image() noexcept;
/// The running image, as an O_PATH descriptor for execveat; -1 before remember_image or without /proc.
int image_fd() noexcept;
/// The snapshot.
std::span<const module> modules() noexcept;
/// The module that holds an address; null if none does. Signal-safe.
const module* find_module(std::uintptr_t address) noexcept;

/// What two processes compare before a user's byte goes between them.
struct build_mark {
  std::uint64_t name_hash = 0, build_hash = 0;
};
std::vector<build_mark> build_marks();
/// The path of the first module that both have under one name in different builds; empty if they are the same build.
std::string different_module(std::span<const build_mark> theirs);

}  // namespace mp::os
