#pragma once
// What a person reads, and what a program reads.

#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iomanip>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "counting.hpp"

namespace wordcount {

using seconds = std::chrono::duration<double>;

struct counted_word {
  std::string_view word;
  std::uint64_t count = 0;
};

// The `most` frequent words, those of one count in the order of their bytes.
inline std::vector<counted_word> top_words(const word_table& table, std::size_t most) {
  std::vector<counted_word> all;
  all.reserve(table.distinct());
  table.for_each([&](const word_table::entry& e) { all.push_back({table.text(e), e.count}); });
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(most, all.size()));
  std::partial_sort(all.begin(), end, all.end(), [](const counted_word& a, const counted_word& b) {
    return a.count != b.count ? a.count > b.count : a.word < b.word;
  });
  all.erase(end, all.end());
  return all;
}

// How many bytes at the front of `s` are one character of UTF-8; 0 if none is.
inline std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const unsigned first = byte(0), second = byte(1);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xc2 ? 0
                             : first < 0xe0 ? 2
                             : first < 0xf0 ? 3
                             : first < 0xf5 ? 4
                                            : 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool too_long = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second >= 0xa0;
  const bool beyond = first == 0xf4 && second >= 0x90;
  return too_long || surrogate || beyond ? 0 : length;
}

// A string of JSON. A byte that is no UTF-8 becomes \udcXX, as in Python's "surrogateescape": nothing is lost.
inline std::string quoted(std::string_view s) {
  std::string out = "\"";
  const auto escape = [&](const char* lead, unsigned char c) {
    char text[8];
    std::snprintf(text, sizeof text, "%s%02x", lead, static_cast<unsigned>(c));
    out += text;
  };
  while (!s.empty()) {
    const auto c = static_cast<unsigned char>(s.front());
    const std::size_t length = utf8_length(s);
    if (length == 0)
      escape("\\udc", c);
    else if (c < 0x20)
      escape("\\u00", c);
    else
      out += c == '"' || c == '\\' ? std::string("\\") + s.front() : std::string(s.substr(0, length));
    s.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out + '"';
}

// For a terminal: what is no UTF-8, and what would move the cursor, becomes a question mark.
inline std::string printable(std::string_view s) {
  std::string out;
  while (!s.empty()) {
    const std::size_t length = utf8_length(s);
    const auto c = static_cast<unsigned char>(s.front());
    out += length == 0 || c < 0x20 || c == 0x7f ? "?" : std::string(s.substr(0, length));
    s.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

inline std::string grouped(std::uint64_t n) {
  const std::string digits = std::to_string(n);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

inline std::string megabytes(std::uint64_t bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / 1e6 << " MB";
  return out.str();
}

inline std::string speed(std::uint64_t bytes, seconds time) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(0) << static_cast<double>(bytes) / 1e6 / time.count() << " MB/s";
  return out.str();
}

inline void print_json(std::ostream& out, const totals& t, std::size_t top) {
  out << "{\"files\": " << t.files << ", \"skipped\": " << t.skipped.size() << ", \"bytes\": " << t.bytes
      << ", \"words\": " << t.words << ", \"distinct\": " << t.table.distinct() << ", \"top\": [";
  for (const char* between = ""; const counted_word& w : top_words(t.table, top)) {
    out << between << '[' << quoted(w.word) << ", " << w.count << ']';
    between = ", ";
  }
  out << "]}\n";
}

inline void print_top(std::ostream& out, const totals& t, std::size_t top) {
  std::size_t place = 0;
  for (const counted_word& w : top_words(t.table, top))
    out << std::setw(4) << ++place << ". " << std::setw(12) << grouped(w.count) << "  " << printable(w.word) << '\n';
}

// Every reason, how often, and the first few names.
inline void print_skipped(std::ostream& out, const totals& t) {
  std::map<std::string, std::vector<std::string>> names;
  for (const skipped_file& s : t.skipped) names[s.why].push_back(s.path);
  out << "skipped  " << grouped(t.skipped.size()) << '\n';
  for (auto& [why, paths] : names) {
    std::sort(paths.begin(), paths.end());
    out << "         " << grouped(paths.size()) << ' ' << why << ": " << printable(paths.front());
    for (std::size_t i = 1; i < std::min<std::size_t>(paths.size(), 3); ++i) out << ", " << printable(paths[i]);
    out << (paths.size() > 3 ? ", ...\n" : "\n");
  }
}

inline void print_deaths(std::ostream& out, const totals& t) {
  for (const std::string& death : t.deaths) out << "death    " << printable(death) << '\n';
  if (t.deaths.empty()) return;
  out << "         every file counts once all the same: " << grouped(t.batches) << " batches counted, "
      << grouped(t.second_counts) << " second counts dropped\n";
}

// One line that is written over, where the standard error stream is a terminal; else nothing.
class progress_line {
public:
  progress_line() : terminal_(::isatty(2) == 1) {}
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;
  ~progress_line() { wipe(); }

  void show(const totals& t) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || now - shown_ < std::chrono::milliseconds(50)) return;
    shown_ = now;
    const std::string text = grouped(t.files) + " files, " + megabytes(t.bytes) + ", " + grouped(t.words) + " words, " +
                             speed(t.bytes, now - begin_);
    std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
    std::fflush(stderr);
    written_ = true;
  }

  void wipe() {
    if (std::exchange(written_, false)) std::fputs("\r\x1b[K", stderr);
  }

private:
  bool terminal_, written_ = false;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now(), shown_{};
};

}  // namespace wordcount
