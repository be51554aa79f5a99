#pragma once
// A table word -> how often, made for two things: counting in a worker, and adding a worker's table to the parent's.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace wordcount {

inline constexpr std::size_t spare_bytes = 8;  // what must be readable behind every word that is added

// Open addressing, at most half full. The *upper* bits of the hash choose the slot: then the slots of one table, in
// their order, are also (nearly) in the order of the slots of any larger one, and merging walks through memory once
// instead of jumping about in it.
class word_table {
public:
  struct entry {
    std::uint64_t head = 0;   // the first eight bytes, zeros behind a shorter word: no byte of a word is zero
    std::uint64_t count = 0;  // 0: free
    std::uint64_t begin = 0;  // in letters_
    std::uint32_t length = 0;
    std::uint32_t hash = 0;  // the upper half
  };

  // `word` must be followed by `spare_bytes` that can be read.
  void add(const char* word, std::size_t length, std::uint64_t times = 1) {
    const std::uint64_t head = head_of(word, length);
    const std::uint32_t hash = hash_of(head, word, length);
    for (std::size_t i = hash >> shift_;; i = (i + 1) & (slots_.size() - 1)) {
      entry& e = slots_[i];
      if (e.count == 0) {
        e = {head, times, letters_.size(), static_cast<std::uint32_t>(length), hash};
        letters_.append(word, length);
        if (++distinct_ * 2 > slots_.size()) grow();
        return;
      }
      if (e.head == head && e.length == length && (length <= 8 || text(e) == std::string_view(word, length))) {
        e.count += times;
        return;
      }
    }
  }

  std::size_t distinct() const { return distinct_; }
  std::string_view text(const entry& e) const { return {letters_.data() + e.begin, e.length}; }

  template <class F>
  void for_each(F f) const {
    for (const entry& e : slots_)
      if (e.count != 0) f(e);
  }

  // Forgets all words and keeps the memory.
  void clear() {
    slots_.assign(slots_.size(), entry{});
    letters_.clear();
    distinct_ = 0;
  }

private:
  static constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio

  static std::uint64_t head_of(const char* word, std::size_t length) {
    std::uint64_t head = 0;
    std::memcpy(&head, word, 8);
    return length >= 8 ? head : head & ((std::uint64_t{1} << (8 * length)) - 1);
  }

  // Eight bytes at a step; a fixed seed, since every process must find the same slots.
  static std::uint32_t hash_of(std::uint64_t head, const char* word, std::size_t length) {
    std::uint64_t h = (head ^ length) * odd;
    for (std::size_t at = 8; at < length; at += 8) {
      h ^= h >> 32;
      h = (h ^ head_of(word + at, length - at)) * odd;
    }
    h ^= h >> 32;
    return static_cast<std::uint32_t>((h * odd) >> 32);
  }

  void grow() {
    std::vector<entry> old(slots_.size() * 2);
    old.swap(slots_);
    --shift_;
    for (const entry& e : old) {
      if (e.count == 0) continue;
      std::size_t i = e.hash >> shift_;
      while (slots_[i].count != 0) i = (i + 1) & (slots_.size() - 1);
      slots_[i] = e;
    }
  }

  int shift_ = 32 - 12;
  std::size_t distinct_ = 0;
  std::vector<entry> slots_ = std::vector<entry>(std::size_t{1} << 12);
  std::string letters_;  // all words, one after the other
};

// A table on its way to another process: three blocks of memory, however many words there are.
struct packed_words {
  std::string letters{};
  std::vector<std::uint32_t> lengths{};
  std::vector<std::uint64_t> counts{};
};

inline packed_words pack(const word_table& table) {
  packed_words p;
  p.lengths.reserve(table.distinct());
  p.counts.reserve(table.distinct());
  table.for_each([&](const word_table::entry& e) {
    p.letters += table.text(e);
    p.lengths.push_back(e.length);
    p.counts.push_back(e.count);
  });
  p.letters.append(spare_bytes, '\0');
  return p;
}

inline void merge(word_table& into, const packed_words& p) {
  const char* word = p.letters.data();
  for (std::size_t i = 0; i < p.counts.size(); ++i) {
    into.add(word, p.lengths[i], p.counts[i]);
    word += p.lengths[i];
  }
}

}  // namespace wordcount
