// Two processes that have one processor between them, alone and beside a third that works there: they hand it to each
// other by yields, or sleep; either way every question has its answer, in order.

#include "mp/pipe.hpp"
#include "mp/queue.hpp"
#include "process_support.hpp"

#include <sched.h>
#include <atomic>
#include <cstdio>

using namespace mp_test;

namespace {

void stay_here() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
  if (::sched_setaffinity(0, sizeof one, &one) != 0) mp::this_process::exit(3);
}

void work_for_ever() {
  for (std::atomic<unsigned> n = 0;;) ++n;
}

void answer_pipe(mp::receiver<int> in, mp::sender<int> out) {
  try {
    for (;;) out.put(in.get() + 1);
  } catch (const mp::error&) {
  }
}
void answer_queue(mp::queue<int> in, mp::queue<int> out) {
  for (int n; (n = in.get()) >= 0;) out.put(n + 1);
}

constexpr int questions = 3000;

// Both ask and answer on the one processor that this process chose before it waited for anything: its children inherit
// it.
int ask(bool through_queues, bool beside_work) {
  stay_here();
  mp::process worker(work_for_ever);
  if (beside_work) worker.start();
  int good = 0;
  if (through_queues) {
    mp::queue<int> there, back;
    mp::process peer(answer_queue, there, back);
    peer.start();
    for (int n = 0; n < questions; ++n) {
      there.put(n);
      good += back.get_for(long_patience) == n + 1 ? 1 : 0;
    }
    there.put(-1);
    peer.join();
  } else {
    auto [in, there] = mp::pipe<int>();
    auto [back, out] = mp::pipe<int>();
    mp::process peer(answer_pipe, std::move(in), std::move(out));
    peer.start();
    for (int n = 0; n < questions; ++n) {
      there.put(n);
      good += back.get_for(long_patience) == n + 1 ? 1 : 0;
    }
    there.close();
    peer.join();
  }
  if (beside_work) {
    worker.kill();
    worker.join();
  }
  return good;
}

}  // namespace

TEST_CASE("one processor: two that share it answer each other, also beside a third that works", "[process]") {
  const bool through_queues = GENERATE(false, true), beside_work = GENERATE(false, true);
  CAPTURE(through_queues, beside_work);
  const fd_ledger ledger;
  {
    mp::queue<int> good;
    mp::process asker([](bool queues, bool work, mp::queue<int> out) { out.put(ask(queues, work)); }, through_queues,
                      beside_work, good);
    asker.start();
    CHECK(good.get_for(long_patience) == questions);
    CHECK(asker.join().success());
  }
  CHECK_CLEAN(ledger);
}
