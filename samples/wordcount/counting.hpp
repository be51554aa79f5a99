#pragma once
// What is counted, and how counts are added together: the part that both forms share (by_pool.hpp, by_queues.hpp).
//
// Files are counted batch by batch. Whatever happens to a worker, each batch is added once: counts that come a second
// time are dropped by the batch's id.

#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "files.hpp"
#include "text.hpp"
#include "words.hpp"

namespace wordcount {

// Of a worker: shall it be killed, and when? `before` and `after` it has given the counts of the first batch.
enum class victim { no, before, after };

struct counts {
  std::uint64_t id = 0;  // of the batch
  std::uint64_t files = 0, bytes = 0, words = 0;
  packed_words table{};
  std::vector<skipped_file> skipped{};
};

// What is known in the end, and while it grows.
struct totals {
  std::uint64_t files = 0, bytes = 0, words = 0;
  word_table table{};
  std::vector<skipped_file> skipped{};
  std::uint64_t batches = 0, second_counts = 0;
  std::vector<std::string> deaths{};  // one sentence each
};

using progress = std::function<void(const totals&)>;

// Adds what is in `b` to `table`, and to all of `c` but its table.
inline void count_batch(const batch& b, text_reader& reader, word_table& table, counts& c) {
  for (const piece& p : b.pieces) {
    piece_result r = reader.count(p, table);
    const bool first_part = p.begin == 0;
    if (!r.why_not.empty()) {
      if (first_part) c.skipped.push_back({p.path, std::move(r.why_not)});
    } else if (first_part) {
      ++c.files;
    }
    c.bytes += r.bytes;
    c.words += r.words;
  }
}

// What a worker does with one batch. It keeps the memory of `reader` and `table` for the next.
inline counts counts_of(const batch& b, text_reader& reader, word_table& table) {
  counts c{.id = b.id};
  table.clear();
  count_batch(b, reader, table, c);
  c.table = pack(table);
  return c;
}

class adding {
public:
  explicit adding(progress show) : show_(std::move(show)) {}

  void add(counts&& c) {
    if (c.id >= counted_.size()) counted_.resize(c.id + 1);
    if (counted_[c.id]) {
      ++sum.second_counts;
      return;
    }
    counted_[c.id] = true;
    ++sum.batches;
    sum.files += c.files;
    sum.bytes += c.bytes;
    sum.words += c.words;
    merge(sum.table, c.table);
    std::move(c.skipped.begin(), c.skipped.end(), std::back_inserter(sum.skipped));
    if (show_) show_(sum);
  }

  totals sum{};

private:
  progress show_;
  std::vector<bool> counted_;  // by the id of a batch
};

// The same without a second process: what the speed is compared with.
inline totals count_alone(const std::vector<batch>& batches) {
  totals t;
  text_reader reader;
  counts c;
  for (const batch& b : batches) count_batch(b, reader, t.table, c);
  t.files = c.files;
  t.bytes = c.bytes;
  t.words = c.words;
  t.skipped = std::move(c.skipped);
  t.batches = batches.size();
  return t;
}

}  // namespace wordcount
