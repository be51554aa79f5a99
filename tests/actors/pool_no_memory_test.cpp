// A death that meets an allocation that fails, each one in turn. Must cost the dead worker's task only, never the program.

#include "pool_tasks.hpp"
#include "support/failing_new.hpp"

#include <chrono>
#include <cstdio>
#include <new>

using namespace mp_test;

namespace {

int die(int) { end_by(end::kill); }

}  // namespace

TEST_CASE("pool: a death while one allocation fails costs its task, and the pool goes on", "[pool][faults]") {
  mp::pool pool({.workers = 2, .restart = {.intensity = 1000, .back_off = {.first = std::chrono::milliseconds(1)}}});
  CHECK_THROWS_AS(pool.apply(die, 1), mp::worker_died);  // what is allocated once, is
  int lost = 0, explained = 0;
  // How many there are varies from death to death: enough when three deaths in a row met none.
  for (long n = 0, met_none = 0; met_none < 3 && n < 500; ++n) {
    auto dead = pool.submit(die, 1);
    fail_allocation(n);
    try {
      dead.get();
      FAIL("a worker that killed itself gave an answer");
    } catch (const mp::worker_died&) {
      ++explained;
    } catch (const std::bad_alloc&) {
      ++lost;
    }
    try {
      pool.apply(cube, 3);  // the next worker's start is under way
    } catch (const std::bad_alloc&) {
    }
    fail_allocation(-1);
    CHECK(pool.apply(cube, 4) == 64);
    met_none = has_failed_allocation() ? 0 : met_none + 1;
  }
  std::printf("figure: deaths while an allocation failed: %d explained, %d said bad_alloc\n", explained, lost);
  CHECK(lost + explained > 10);
  pool.close();
  pool.join();
}
