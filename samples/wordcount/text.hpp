#pragma once
// What is text, what is a word, and how a part of a file is read: the whole of what is counted is decided here.

#include "words.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mp/unique_fd.hpp>
#include <string>
#include <vector>

namespace wordcount {

// A file, or a part of a big one.
struct piece {
  std::string path{};
  std::uint64_t begin = 0;
  std::uint64_t end = std::numeric_limits<std::uint64_t>::max();  // the last part: as far as the file goes
};

// Of one piece. `why_not` is empty if it was counted.
struct piece_result {
  std::uint64_t bytes = 0, words = 0;
  std::string why_not{};
};

// A word is a longest run of ASCII letters, digits and bytes above 0x7f. Asked after lower() only.
constexpr std::array<bool, 256> make_in_word() {
  std::array<bool, 256> t{};
  for (unsigned c = 0; c < 256; ++c) t[c] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c > 0x7f;
  return t;
}
inline constexpr std::array<bool, 256> in_word = make_in_word();

// ASCII letters to lower case. Its own pass over the bytes, which the compiler turns into vector instructions; written
// while a word is scanned, each byte would have to leave the processor's store buffer before the word can be hashed.
inline void lower(unsigned char* bytes, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    const unsigned char c = bytes[i];
    bytes[i] = static_cast<unsigned char>(c + (static_cast<unsigned char>(c - 'A') < 26 ? 'a' - 'A' : 0));
  }
}

class text_reader {
public:
  // Adds the words of `p` to `table`: those that *begin* in it, so that parts of a file together give each word once.
  piece_result count(const piece& p, word_table& table) {
    // Nonblocking, and no link followed: the name may have become a fifo or a link since the directory was read.
    mp::unique_fd file(::open(p.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return {.why_not = unreadable()};
    struct stat facts {};
    if (::fstat(file.get(), &facts) != 0) return {.why_not = unreadable()};
    if (!S_ISREG(facts.st_mode)) return {.why_not = "not a regular file"};

    const ssize_t start = read_at(file.get(), buffer_.data(), text_test, 0);
    if (start < 0) return {.why_not = unreadable()};
    if (std::memchr(buffer_.data(), 0, static_cast<std::size_t>(start)) != nullptr)
      return {.why_not = "binary (a zero byte in the first 8 KiB)"};
    return count_words(file.get(), p, table);
  }

private:
  static constexpr std::size_t text_test = 8192;        // bytes that decide whether a file is text
  static constexpr std::size_t read_size = 256 * 1024;  // stays in the second-level cache

  static std::string unreadable() { return std::string("unreadable: ") + std::strerror(errno); }

  static ssize_t read_at(int fd, unsigned char* to, std::size_t size, std::uint64_t at) {
    for (;;) {
      const ssize_t n = ::pread(fd, to, size, static_cast<off_t>(at));
      if (n >= 0 || errno != EINTR) return n;
    }
  }

  piece_result count_words(int fd, const piece& p, word_table& table) {
    piece_result result;
    // A later part begins one byte early: if that is the byte of a word, the word belongs to the part before.
    std::uint64_t at = p.begin > 0 ? p.begin - 1 : 0;  // of buffer_[0]
    bool in_foreign_word = p.begin > 0;
    std::size_t kept = 0;  // bytes of a word that the last read cut
    for (;;) {
      if (kept * 2 > buffer_.size()) buffer_.resize(buffer_.size() * 2);
      const ssize_t n = read_at(fd, buffer_.data() + kept, buffer_.size() - spare_bytes - kept, at + kept);
      if (n < 0) {
        result.why_not = unreadable() + " after " + std::to_string(at) + " bytes, which are counted";
        return result;
      }
      const std::size_t size = kept + static_cast<std::size_t>(n);
      const std::uint64_t read_up_to = at + size;
      result.bytes = std::min(p.end, std::max(read_up_to, p.begin)) - p.begin;
      lower(buffer_.data() + kept, static_cast<std::size_t>(n));
      buffer_[size] = 0;  // ends the last word: no loop below needs a second test
      const bool last = n == 0;
      std::size_t i = 0;
      if (in_foreign_word) {
        while (in_word[buffer_[i]]) ++i;
        in_foreign_word = i == size && !last;
      }
      kept = scan(i, size, last, at, p.end, table, result.words);
      if (last || (kept == 0 && read_up_to >= p.end)) return result;
      std::memmove(buffer_.data(), buffer_.data() + (size - kept), kept);
      at = read_up_to - kept;
    }
  }

  // Counts the words in buffer_[i, size). Gives the length of the one that is cut by `size`: it may go on.
  std::size_t scan(std::size_t i, std::size_t size, bool last, std::uint64_t at, std::uint64_t end, word_table& table,
                   std::uint64_t& counted) {
    const unsigned char* const b = buffer_.data();
    for (;;) {
      while (i < size && !in_word[b[i]]) ++i;
      const std::size_t first = i;
      if (first == size || at + first >= end) return 0;
      while (in_word[b[i]]) ++i;
      if (i == size && !last) return size - first;
      table.add(reinterpret_cast<const char*>(b + first), i - first);
      ++counted;
    }
  }

  std::vector<unsigned char> buffer_ = std::vector<unsigned char>(read_size + spare_bytes);
};

}  // namespace wordcount
