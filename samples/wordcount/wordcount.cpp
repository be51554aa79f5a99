// wordcount: the words of all text files under a directory, counted by a pool of processes.
//
// A real job: workers count batches of files, and the count is right even if one of them is killed in the middle
// (`--kill-one`). How they work together is in by_pool.hpp, and once more without a pool, by two queues, in
// by_queues.hpp (`--queues`); the rest is counting.hpp (adding up), text.hpp (what a word is), files.hpp (which files),
// words.hpp (a fast table), report.hpp and options.hpp.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <exception>
#include <iostream>
#include <mp/mp.hpp>
#include <ranges>
#include <stdexcept>
#include <utility>
#include <vector>

#include "by_pool.hpp"
#include "by_queues.hpp"
#include "files.hpp"
#include "options.hpp"
#include "report.hpp"

namespace wordcount {

constexpr std::uint64_t compared_bytes = 256 << 20;  // enough for a steady figure, and they stay in memory

template <class Batches>
totals count(const options& o, Batches&& batches, progress show = {}) {
  return o.queues ? queue_counting(o.processes, o.transport, o.kill, std::move(show)).run(batches)
                  : count_by_pool(batches, o.processes, o.kill, std::move(show));
}

// `seen` keeps the first batches, for the comparison.
totals count_files(const options& o, std::vector<batch>& seen) {
  progress_line line;
  std::uint64_t bytes = 0;
  file_walk files(o.processes, o.roots);
  const auto watched = [&](const batch& b) -> const batch& {
    if ((bytes += b.bytes) <= compared_bytes) seen.push_back(b);
    return b;
  };
  totals t = count(o, files | std::views::transform(watched), [&](const totals& now) { line.show(now); });
  t.skipped.insert(t.skipped.end(), files.skipped().begin(), files.skipped().end());
  return t;
}

seconds time_of(const auto& job) {
  const auto begin = std::chrono::steady_clock::now();
  job();
  return std::chrono::steady_clock::now() - begin;
}

// Counts `batches` in turns: by one process that sends no message, and by several with all that belongs to it (their
// start, the queues, adding up). The files are in memory by now. The better of two turns each.
void compare(std::ostream& out, const std::vector<batch>& batches, const options& o) {
  options calm = o;
  calm.kill = victim::no;
  seconds alone = seconds::max(), together = seconds::max();
  totals one, many;
  for (int turn = 0; turn < 2; ++turn) {
    alone = std::min(alone, time_of([&] { one = count_alone(batches); }));
    together = std::min(together, time_of([&] { many = count(calm, batches); }));
  }
  if (one.words != many.words || one.table.distinct() != many.table.distinct())
    throw std::runtime_error("one process and several have counted differently: did a file change meanwhile?");
  out << "         " << speed(one.bytes, together) << " by " << o.processes
      << (o.processes == 1 ? " process, " : " processes, ") << speed(one.bytes, alone)
      << " by one alone: " << std::fixed << std::setprecision(2) << alone / together << " times as fast\n         ("
      << megabytes(one.bytes)
      << " of it counted again by both in turns, from memory, with starting, messages and adding up; the better of two "
         "turns each)\n";
}

int run(const options& o) {
  std::vector<batch> seen;
  totals t;
  const seconds time = time_of([&] { t = count_files(o, seen); });
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
  mp::shutdown_on({SIGINT, SIGTERM}, std::chrono::milliseconds(500));  // Ctrl-C leaves no process behind
  try {
    return wordcount::run(o);
  } catch (const std::exception& e) {
    std::cerr << "wordcount: " << e.what() << '\n';
    return 1;
  }
}
