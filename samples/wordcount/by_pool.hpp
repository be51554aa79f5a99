#pragma once
// The heart of the sample: a pool's workers map a function over batches of files.
//
//        this process            workers (processes)           this process
//     -------------------       ---------------------      --------------------
//      walks, as batches   ===>  count the words of   ===>   adds the counts
//      are asked for             one batch each              together
//
// `imap_unordered` reads the next batch when there is room, and gives counts as they come. Counting a batch twice does
// no harm, and the pool is told so (`idempotent`): if a worker dies with a batch in hand, another worker gets it. What
// a worker had given before it died is delivered. So each file counts once.

#include <csignal>
#include <mp/mp.hpp>
#include <ranges>
#include <string>
#include <utility>

#include "counting.hpp"

namespace wordcount {

// What came of a batch, and who counted it at which attempt.
struct counted_batch {
  counts found{};
  std::string first_file{};
  pid_t worker = 0;
  int attempt = 0;
};

// What runs in a worker, once for each batch. A plain functor travels with its fields.
struct count_in_worker {
  victim kill = victim::no;

  counted_batch operator()(const batch& b) const {
    static text_reader reader;  // a worker runs one task at a time
    static word_table table;
    counts found = counts_of(b, reader, table);
    if (kill == victim::before && b.id == 0 && mp::this_task::attempt() == 1) std::raise(SIGKILL);
    return {std::move(found), b.pieces.at(0).path, mp::this_process::pid(), mp::this_task::attempt()};
  }
};

// Counts `batches` by a pool. Throws mp::worker_died if a batch ends one worker after the other.
template <std::ranges::input_range Batches>
totals count_by_pool(Batches&& batches, std::ptrdiff_t processes, victim kill = victim::no, progress show = {}) {
  adding all(std::move(show));
  mp::queue<std::string> deaths({.transport = mp::transport::local});  // the pool's callbacks run on another thread
  mp::pool pool{{.workers = processes, .name = "counter", .on_worker_exit = [deaths](const mp::worker_exit& e) {
                   const mp::post_mortem& p = e.post_mortem;
                   if (!p.status.success())
                     deaths.put(e.worker + " (process " + std::to_string(p.pid) + ") " + to_string(p.status) +
                                (e.replaced ? "; another worker takes its place" : ""));
                 }}};

  const mp::map_options careful{.chunk = 1, .retry = {.attempts = 3, .idempotent = true}};
  for (counted_batch& b : pool.imap_unordered(count_in_worker{kill}, batches, careful)) {
    if (kill == victim::after && b.found.id == 0) ::kill(b.worker, SIGKILL);
    if (b.attempt > 1)
      all.sum.deaths.push_back("a worker died with batch " + std::to_string(b.found.id) +
                               " in hand, whose first file is " + b.first_file + "; process " +
                               std::to_string(b.worker) + " counted it again");
    all.add(std::move(b.found));
  }

  pool.close();
  pool.join();
  for (auto left = pool.stats().worker_deaths; left > 0; --left) all.sum.deaths.push_back(deaths.get());
  return std::move(all.sum);
}

}  // namespace wordcount
