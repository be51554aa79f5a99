#pragma once
// The same job by hand (`--queues`): processes take batches of files from one queue and give counts through another.
//
//        feed (a thread)            workers (processes)              this process
//     ---------------------  batches  -----------------  answers  -------------------
//      walks, makes batches  =======>  count the words   =======>  adds them together
//
// A batch is in the hand of its worker until the worker asks for the next one. If the worker dies before that, the
// queue gives the batch to another (`redeliver`), and this process starts a new worker. The dead one may have given its
// counts already: then they come twice, and the second ones are dropped by the batch's id. So each file counts once.

#include <cstdint>
#include <functional>
#include <future>
#include <iterator>
#include <mp/mp.hpp>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "counting.hpp"

namespace wordcount {

struct holding {  // "I hold this batch, and wait to be killed"
  std::uint64_t id = 0;
  std::string first_file{};
};

using answer = std::variant<holding, counts>;

// What each worker runs. The loop ends when no more batches can come, and none that is in another's hand can come back.
inline void count_batches(mp::receiver<batch> batches, mp::sender<answer> answers, victim role) {
  text_reader reader;
  word_table table;
  const auto wait_to_be_killed = [&](const batch& b) {
    answers.put(holding{b.id, b.pieces.at(0).path});
    mp::this_process::parent()->join();
  };
  for (const batch& b : batches) {
    if (role == victim::before) wait_to_be_killed(b);
    answers.put(counts_of(b, reader, table));
    if (role == victim::after) wait_to_be_killed(b);
  }
}

// The parent's side: starts the workers, adds up what they give, replaces those that die.
class queue_counting {
public:
  queue_counting(std::ptrdiff_t processes, mp::transport transport, victim kill = victim::no, progress show = {})
      : processes_(processes),
        kill_(kill),
        batches_({.on_consumer_death = mp::on_death::redeliver, .transport = transport}),
        answers_({.transport = transport}),
        all_(std::move(show)) {}

  // Counts `batches`, which a thread of its own reads. Throws what reading them throws, and runtime_error if workers
  // die again and again.
  template <std::ranges::input_range Batches>
  totals run(Batches&& batches) {
    std::uint64_t fed = 0;
    std::future<void> feeding = std::async(std::launch::async, [&, last = batches_.sender()]() mutable {
      const mp::sender<batch> to = std::move(last);  // gone at the end of this function, not with the future
      for (auto&& b : batches) {
        to.put(b);
        ++fed;
      }
    });
    batches_.close_sender();  // now only the thread can put: when it is done, the workers' loops can end

    // A worker that is to be killed starts alone, so that it is sure to get a batch.
    start_worker(kill_);
    if (kill_ == victim::no) start_others();
    try {
      while (!workers_.empty()) step();
    } catch (...) {
      batches_.shutdown();  // or the thread, and with it the future, would wait for room in the queue for ever
      throw;
    }
    take_answers();
    feeding.get();
    if (all_.sum.batches != fed) throw std::runtime_error("the workers have ended, and not all files are counted");
    return std::move(all_.sum);
  }

private:
  static constexpr std::size_t most_deaths = 8;  // then it is the files, or the machine, and no accident

  void start_worker(victim role = victim::no) {
    const std::string name = "counter-" + std::to_string(++started_);
    workers_.push_back(
        mp::process{{.name = name}, count_batches, batches_.receiver(), answers_.sender(), role}.start());
  }

  void start_others() {
    while (std::ssize(workers_) < processes_) start_worker();
  }

  // Waits for an answer or for the end of a worker, and deals with all that is there.
  void step() {
    std::vector<mp::waitable> either{answers_};
    either.insert(either.end(), workers_.begin(), workers_.end());
    mp::wait(std::span<const mp::waitable>(either));
    take_answers();
    for (std::size_t i = workers_.size(); i-- > 0;)
      if (const std::optional<mp::exit_status> ended = workers_[i].exit_status()) take_leave(i, *ended);
  }

  void take_answers() {
    while (std::optional<answer> a = answers_.try_get()) std::visit([this](auto& it) { take(it); }, *a);
  }

  void take(const holding& h) {
    start_others();  // they are waiting for batches when it dies
    mp::process& w = workers_.at(0);
    w.kill();
    all_.sum.deaths.push_back(w.name() + " (process " + std::to_string(w.pid()) + ") was killed with batch " +
                              std::to_string(h.id) + " in hand, whose first file is " + h.first_file);
  }
  void take(counts& c) { all_.add(std::move(c)); }

  void take_leave(std::size_t i, const mp::exit_status& ended) {
    const std::string name = workers_[i].name();
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
    if (ended.success()) return;
    all_.sum.deaths.push_back(name + " " + to_string(ended) + "; another worker takes its place");
    if (all_.sum.deaths.size() > most_deaths) throw std::runtime_error("too many workers died; the last: " + name);
    start_worker();
  }

  std::ptrdiff_t processes_;
  victim kill_;
  mp::queue<batch> batches_;
  mp::queue<answer> answers_;
  mp::sender<answer> stay_open_ = answers_.sender();  // the queue must not end between one worker and the next
  std::vector<mp::process> workers_;
  adding all_;
  int started_ = 0;
};

}  // namespace wordcount
