#pragma once
// The command line.

#include <charconv>
#include <cstddef>
#include <filesystem>
#include <mp/mp.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "counting.hpp"

namespace wordcount {

inline constexpr const char* usage =
    "usage: wordcount [DIR]... [--processes N] [--top N] [--json] [--kill-one[=before|after]]\n"
    "                 [--queues] [--socket]\n"
    "  DIR            what to count: directories or files (default: the documentation and licences of this machine)\n"
    "  --processes N  how many processes count (default: as many as there are processors)\n"
    "  --top N        how many words to print (default: 20)\n"
    "  --json         one line of JSON instead of a report; what was skipped goes to the standard error stream\n"
    "  --kill-one     kills a worker that holds files: before it has given their counts (default), or after\n"
    "  --queues       without a pool: by processes that share the work through two queues\n"
    "  --socket       as --queues, and they go over sockets instead of shared memory\n";

struct options {
  std::vector<std::filesystem::path> roots{};
  std::ptrdiff_t processes = mp::cpu_count();
  std::size_t top = 20;
  bool json = false, queues = false, help = false;
  mp::transport transport = mp::transport::ring;
  victim kill = victim::no;
};

// Throws invalid_argument with a sentence for the user.
inline options parse(int argc, char** argv) {
  options o;
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  bool only_names = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view name = words[i].substr(0, words[i].find('='));
    // The value of an option is the rest of its word, or the next word.
    const auto number = [&](std::size_t least, std::size_t most) {
      const std::string_view text = name != words[i]       ? words[i].substr(name.size() + 1)
                                    : i + 1 < words.size() ? words[++i]
                                                           : std::string_view();
      std::size_t n = 0;
      const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), n);
      if (failed != std::errc() || end != text.data() + text.size() || n < least || n > most)
        throw std::invalid_argument(std::string(name) + " takes a number from " + std::to_string(least) + " to " +
                                    std::to_string(most));
      return n;
    };
    if (only_names || words[i].empty() || words[i].front() != '-')
      o.roots.emplace_back(words[i]);
    else if (words[i] == "--")
      only_names = true;
    else if (name == "--processes")
      o.processes = static_cast<std::ptrdiff_t>(number(1, 1000));
    else if (name == "--top")
      o.top = number(0, 1'000'000'000);
    else if (words[i] == "--json")
      o.json = true;
    else if (words[i] == "--queues")
      o.queues = true;
    else if (words[i] == "--socket")
      o.queues = true, o.transport = mp::transport::socket;
    else if (words[i] == "--kill-one" || words[i] == "--kill-one=before")
      o.kill = victim::before;
    else if (words[i] == "--kill-one=after")
      o.kill = victim::after;
    else if (words[i] == "--help" || words[i] == "-h")
      o.help = true;
    else
      throw std::invalid_argument("no such option: " + std::string(words[i]));
  }
  std::error_code failed;
  if (o.roots.empty())
    for (const char* usual : {"/usr/share/doc", "/usr/share/common-licenses"})
      if (std::filesystem::exists(usual, failed)) o.roots.emplace_back(usual);
  for (const auto& root : o.roots)
    if (!std::filesystem::exists(root, failed))
      throw std::invalid_argument(root.string() + ": " +
                                  (failed ? failed.message() : "there is no such file or directory"));
  if (o.roots.empty()) throw std::invalid_argument("this machine has no /usr/share/doc: name a directory");
  return o;
}

}  // namespace wordcount
