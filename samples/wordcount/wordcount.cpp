// wordcount: the words of all text files under a directory, counted by processes that share the work through two
// queues.
//
// A real job: several processes take file names from one queue and give counts through another, and the count is right
// even if one of them is killed in the middle (`--kill-one`). How they work together is in counting.hpp; the rest is
// text.hpp (what a word is), files.hpp (which files), words.hpp (a fast table), report.hpp and options.hpp.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <mp/mp.hpp>
#include <stdexcept>
#include <vector>

#include "counting.hpp"
#include "files.hpp"
#include "options.hpp"
#include "report.hpp"

namespace wordcount {

constexpr std::uint64_t compared_bytes = 256 << 20;  // enough for a steady figure, and they stay in memory

// `seen` keeps the first batches, for the comparison.
totals count(const options& o, std::vector<batch>& seen) {
  progress_line line;
  std::vector<skipped_file> skipped;
  counting all(o.processes, o.transport, o.kill, [&](const totals& t) { line.show(t); });
  totals t = all.run([&](const counting::give_batch& give) {
    std::uint64_t bytes = 0;
    file_walk files(o.processes, [&](batch&& b) {
      if ((bytes += b.bytes) <= compared_bytes) seen.push_back(b);
      give(std::move(b));
    });
    for (const auto& root : o.roots) files.walk(root);
    files.finish();
    skipped = std::move(files.skipped());
  });
  t.skipped.insert(t.skipped.end(), skipped.begin(), skipped.end());
  return t;
}

seconds time_of(const auto& job) {
  const auto begin = std::chrono::steady_clock::now();
  job();
  return std::chrono::steady_clock::now() - begin;
}

// Counts `batches` in turns: by one process that uses no queue, and by several with all that belongs to it (their
// start, the queues, adding up). The files are in memory by now. The better of two turns each.
void compare(std::ostream& out, const std::vector<batch>& batches, const options& o) {
  seconds alone = seconds::max(), together = seconds::max();
  totals one, many;
  for (int turn = 0; turn < 2; ++turn) {
    alone = std::min(alone, time_of([&] { one = count_alone(batches); }));
    together = std::min(together, time_of([&] {
                          many = counting(o.processes, o.transport).run([&](const counting::give_batch& give) {
                            for (batch b : batches) give(std::move(b));
                          });
                        }));
  }
  if (one.words != many.words || one.table.distinct() != many.table.distinct())
    throw std::runtime_error("one process and several have counted differently: did a file change meanwhile?");
  out << "         " << speed(one.bytes, together) << " by " << o.processes
      << (o.processes == 1 ? " process, " : " processes, ") << speed(one.bytes, alone)
      << " by one alone without queues: " << std::fixed << std::setprecision(2) << alone / together
      << " times as fast\n         (" << megabytes(one.bytes)
      << " of it counted again by both in turns, from memory, with starting, queues and adding up; the better of two "
         "turns each)\n";
}

int run(const options& o) {
  std::vector<batch> seen;
  totals t;
  const seconds time = time_of([&] { t = count(o, seen); });
  if (o.json) {
    print_json(std::cout, t, o.top);
    print_skipped(std::cerr, t);
    print_deaths(std::cerr, t);
    return 0;
  }
  print_top(std::cout, t, o.top);
  std::cout << "files    " << grouped(t.files) << " text files in";
  for (const auto& root : o.roots) std::cout << ' ' << printable(root.string());
  std::cout << "\nbytes    " << megabytes(t.bytes) << ", " << grouped(t.words) << " words, "
            << grouped(t.table.distinct()) << " of them different\n";
  print_skipped(std::cout, t);
  print_deaths(std::cout, t);
  std::cout << "speed    " << speed(t.bytes, time) << " by " << o.processes
            << (o.processes == 1 ? " process" : " processes")
            << ", from the disk where the system had not read it before\n"
            << std::flush;
  if (t.bytes > 0) compare(std::cout, seen, o);
  return 0;
}

}  // namespace wordcount

int main(int argc, char** argv) {
  mp::init(argc, argv);
  wordcount::options o;
  try {
    o = wordcount::parse(argc, argv);
  } catch (const std::invalid_argument& e) {
    std::cerr << "wordcount: " << e.what() << '\n' << wordcount::usage;
    return 2;
  }
  if (o.help) {
    std::cout << wordcount::usage;
    return 0;
  }
  try {
    return wordcount::run(o);
  } catch (const std::exception& e) {
    std::cerr << "wordcount: " << e.what() << '\n';
    return 1;
  }
}
