#pragma once
// Runs the victim (victim.cpp), and finds all processes that came from it.

#include "process_support.hpp"

#include <spawn.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mp_test {

using environment = std::map<std::string, std::string>;

inline outcome victim(std::vector<std::string> arguments, const environment& variables = {}, int seconds = 60) {
  arguments.insert(arguments.begin(), program_path("process_victim"));
  return run_program(arguments, variables, seconds);
}

/// Every process whose environment holds this entry: nobody who inherited it can hide.
inline std::vector<pid_t> marked_by(const std::string& entry) {
  std::vector<pid_t> found;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    const std::string name = process.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream in(process.path() / "environ", std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    if (all.find(entry) != std::string::npos) found.push_back(std::atoi(name.c_str()));
  }
  return found;
}

/// Starts the victim with this entry in its environment, perhaps by way of a `launcher`.
inline pid_t run_marked(const std::vector<std::string>& arguments, const std::string& entry,
                        const std::vector<std::string>& launcher = {}) {
  // A signal that kills must kill: a sanitizer's handler would do its work in whatever the signal interrupted.
  const char* const given = std::getenv("ASAN_OPTIONS");
  std::vector<std::string> words = arguments,
                           variables{entry, "ASAN_OPTIONS=handle_segv=0:" + std::string(given ? given : "")};
  words.insert(words.begin(), program_path("process_victim"));
  words.insert(words.begin(), launcher.begin(), launcher.end());
  for (char** v = environ; *v; ++v)
    if (!std::string_view(*v).starts_with("ASAN_OPTIONS=")) variables.emplace_back(*v);
  std::vector<char*> argv, envp;
  for (auto& w : words) argv.push_back(w.data());
  for (auto& v : variables) envp.push_back(v.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  pid_t pid = -1;
  if (::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), envp.data()) != 0) return -1;
  return pid;
}

}  // namespace mp_test
