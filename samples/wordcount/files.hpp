#pragma once
// Which files there are: walks through directories and makes batches of them, as workers like to have them.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "text.hpp"

namespace wordcount {

struct skipped_file {
  std::string path{};
  std::string why{};
};

// What a worker takes at once. No file, and no part of one, is in two batches: who has counted a batch's id before
// has counted its files before.
struct batch {
  std::uint64_t id = 0;
  std::uint64_t bytes = 0;  // as the directories say
  std::vector<piece> pieces{};
};

class file_walk {
public:
  using give_batch = std::function<void(batch&&)>;

  file_walk(std::ptrdiff_t processes, give_batch give)
      : processes_(static_cast<std::uint64_t>(processes)), give_(std::move(give)) {}

  // Gives all files below `root` (or `root` itself, if it is a file). Symbolic links are not followed, except `root`.
  void walk(const std::filesystem::path& root) {
    std::error_code failed;
    std::vector<std::filesystem::path> directories{std::filesystem::canonical(root, failed)};
    if (failed) return skip(root, failed);
    if (!std::filesystem::is_directory(directories.back(), failed)) {
      add(std::filesystem::directory_entry(directories.back(), failed));
      directories.clear();
    }
    while (!directories.empty()) {
      const std::filesystem::path directory = std::move(directories.back());
      directories.pop_back();
      std::filesystem::directory_iterator entry(directory, failed);
      for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
        std::error_code unknown;
        if (entry->symlink_status(unknown).type() == std::filesystem::file_type::directory)
          directories.push_back(entry->path());
        else
          add(*entry);
      }
      if (failed) skip(directory, failed);
    }
  }

  // Gives what is left. Call it once, after the last walk.
  void finish() {
    if (!open_.pieces.empty()) give_open();
  }

  std::vector<skipped_file>& skipped() { return skipped_; }

private:
  static constexpr std::uint64_t part_size = 4 << 20;  // bigger files are cut, so that no worker works alone at the end
  static constexpr std::uint64_t least = 128 << 10;  // bytes of a batch: below it, the queue costs more than the words
  static constexpr std::uint64_t most = 8 << 20;     // above it, fewer words to merge no longer pay for the wait
  static constexpr std::uint64_t cost_of_a_file = 4096;  // opening one takes as long as counting so many bytes

  void add(const std::filesystem::directory_entry& entry) {
    std::error_code failed;
    const std::filesystem::file_type type = entry.symlink_status(failed).type();
    if (failed) return skip(entry.path(), failed);
    if (type == std::filesystem::file_type::symlink) return skip(entry.path(), "symbolic link");
    if (type != std::filesystem::file_type::regular) return skip(entry.path(), "not a regular file");
    const std::uint64_t size = entry.file_size(failed);
    if (failed) return skip(entry.path(), failed);

    std::uint64_t begin = 0;
    for (; size - begin > 2 * part_size; begin += part_size) add({entry.path(), begin, begin + part_size}, part_size);
    add({.path = entry.path(), .begin = begin}, size - begin);
  }

  // A batch grows with what was found so far: a small tree is shared out finely, a large one needs few messages.
  void add(piece&& p, std::uint64_t size) {
    bytes_ += size;
    weight_ += size + cost_of_a_file;
    open_.bytes += size;
    open_.pieces.push_back(std::move(p));
    if (weight_ >= std::clamp(bytes_ / (8 * processes_), least, most)) give_open();
  }

  void give_open() {
    const std::uint64_t next = open_.id + 1;
    give_(std::exchange(open_, batch{.id = next}));
    weight_ = 0;
  }

  void skip(const std::filesystem::path& path, const std::error_code& why) {
    skip(path, "unreadable: " + why.message());
  }
  void skip(const std::filesystem::path& path, std::string why) { skipped_.push_back({path, std::move(why)}); }

  std::uint64_t processes_;
  give_batch give_;
  batch open_;
  std::uint64_t weight_ = 0;  // of open_
  std::uint64_t bytes_ = 0;   // found so far, text or not
  std::vector<skipped_file> skipped_;
};

}  // namespace wordcount
