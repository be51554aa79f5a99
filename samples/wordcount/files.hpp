#pragma once
// Which files there are: walks through directories and makes batches of them, as workers like to have them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
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

// The batches of all files below `roots`, found as they are asked for: a range that can be read once.
class file_walk {
public:
  file_walk(std::ptrdiff_t processes, const std::vector<std::filesystem::path>& roots)
      : processes_(static_cast<std::uint64_t>(processes)), roots_(roots.rbegin(), roots.rend()) {}
  file_walk(const file_walk&) = delete;
  file_walk& operator=(const file_walk&) = delete;

  class iterator {
  public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = batch;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(file_walk& of) : of_(&of) { of_->go_on(); }
    const batch& operator*() const { return of_->found_; }
    iterator& operator++() { return of_->go_on(), *this; }
    void operator++(int) { of_->go_on(); }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

  private:
    bool at_end() const { return of_->found_.pieces.empty(); }
    file_walk* of_ = nullptr;
  };
  iterator begin() { return iterator(*this); }
  std::default_sentinel_t end() const { return {}; }

  // What no batch holds. Complete when all batches have been read.
  std::vector<skipped_file>& skipped() { return skipped_; }

private:
  static constexpr std::uint64_t part_size = 4 << 20;  // bigger files are cut, so that no worker works alone at the end
  static constexpr std::uint64_t least = 128 << 10;    // bytes of a batch: below it, its way costs more than its words
  static constexpr std::uint64_t most = 8 << 20;       // above it, fewer words to merge no longer pay for the wait
  static constexpr std::uint64_t cost_of_a_file = 4096;  // opening one takes as long as counting so many bytes

  // The next batch, or at the end an empty one. It grows with what was found so far: a small tree is shared out finely,
  // a large one needs few messages.
  void go_on() {
    found_ = {.id = next_id_++};
    for (std::uint64_t weight = 0; weight < std::clamp(bytes_ / (8 * processes_), least, most);) {
      if (rest_.path.empty() && !find_file()) return;
      weight += take_part() + cost_of_a_file;
    }
  }

  // Moves a part of the file that was found into the batch; gives its size.
  std::uint64_t take_part() {
    piece p = rest_;
    std::uint64_t size = rest_size_ - rest_.begin;
    if (size > 2 * part_size) {
      size = part_size;
      rest_.begin = p.end = p.begin + part_size;
    } else {
      rest_.path.clear();
    }
    bytes_ += size;
    found_.bytes += size;
    found_.pieces.push_back(std::move(p));
    return size;
  }

  // Finds the next file to count. Symbolic links are not followed, except roots. False: there is none.
  bool find_file() {
    std::error_code failed;
    for (;;) {
      if (entry_ != std::filesystem::directory_iterator()) {
        const std::filesystem::directory_entry e = *entry_;
        entry_.increment(failed);
        if (failed) skip(directory_, failed);
        std::error_code unknown;
        if (e.symlink_status(unknown).type() == std::filesystem::file_type::directory)
          directories_.push_back(e.path());
        else if (look_at(e))
          return true;
      } else if (!directories_.empty()) {
        directory_ = std::move(directories_.back());
        directories_.pop_back();
        entry_ = std::filesystem::directory_iterator(directory_, failed);
        if (failed) skip(directory_, failed);
      } else if (!roots_.empty()) {
        const std::filesystem::path root = std::move(roots_.back());
        roots_.pop_back();
        const std::filesystem::path real = std::filesystem::canonical(root, failed);
        if (failed)
          skip(root, failed);
        else if (std::filesystem::is_directory(real, failed))
          directories_.push_back(real);
        else if (look_at(std::filesystem::directory_entry(real, failed)))
          return true;
      } else {
        return false;
      }
    }
  }

  // True: `rest_` is this file.
  bool look_at(const std::filesystem::directory_entry& entry) {
    std::error_code failed;
    const std::filesystem::file_type type = entry.symlink_status(failed).type();
    if (failed) return skip(entry.path(), failed);
    if (type == std::filesystem::file_type::symlink) return skip(entry.path(), "symbolic link");
    if (type != std::filesystem::file_type::regular) return skip(entry.path(), "not a regular file");
    rest_size_ = entry.file_size(failed);
    if (failed) return skip(entry.path(), failed);
    rest_ = {.path = entry.path()};
    return true;
  }

  bool skip(const std::filesystem::path& path, const std::error_code& why) {
    return skip(path, "unreadable: " + why.message());
  }
  bool skip(const std::filesystem::path& path, std::string why) {
    skipped_.push_back({path, std::move(why)});
    return false;
  }

  std::uint64_t processes_;
  std::vector<std::filesystem::path> roots_, directories_;  // still to be read, the next one last
  std::filesystem::path directory_;                         // that `entry_` is in
  std::filesystem::directory_iterator entry_;
  piece rest_;  // of the file that is being cut; without a name: none
  std::uint64_t rest_size_ = 0;
  batch found_;
  std::uint64_t next_id_ = 0;
  std::uint64_t bytes_ = 0;  // found so far, text or not
  std::vector<skipped_file> skipped_;
};

}  // namespace wordcount
