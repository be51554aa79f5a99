#pragma once
// What memory the calling process uses, as the kernel counts it.

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "bench.hpp"

namespace bench {

/// KiB in a field of /proc/self/status, as "RssAnon:".
inline double status_field(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field)) return std::strtod(line.c_str() + field.size(), nullptr);
  check(false, field.c_str());
  return 0;
}

struct footprint {
  double resident = 0;  // KiB: RssAnon + RssShmem
  double reserved = 0;  // KiB: RssAnon + blocks of the memory files that we hold
  double descriptors = 0;

  static footprint now() {
    footprint f;
    std::set<std::pair<dev_t, ino_t>> seen;
    double blocks = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      struct stat s {};
      if (stat(entry.path().c_str(), &s) != 0) continue;  // the directory we read
      ++f.descriptors;
      std::error_code ignored;
      const auto target = std::filesystem::read_symlink(entry.path(), ignored).string();
      if (target.starts_with("/memfd:") && seen.emplace(s.st_dev, s.st_ino).second)
        blocks += static_cast<double>(s.st_blocks) * 512 / 1024;
    }
    const auto anonymous = status_field("RssAnon:");
    f.resident = anonymous + status_field("RssShmem:");
    f.reserved = anonymous + blocks;
    return f;
  }
};

}  // namespace bench
