// The sweep must be able to fail: each deliberate mistake in the order of commits must be caught by it.

#include "channel/ring_mutants.hpp"
#include "sweep.hpp"

namespace mp::ring {
mistake mutant = mistake::none;
}

int main(int, char** argv) {
  using namespace mp_fault;
  using mp::ring::mistake;
  bind_now(argv);
  use_one_processor();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::vector<scene> scenes = queue_scenes();
  for (scene& s : pipe_scenes()) scenes.push_back(std::move(s));
  const struct {
    mistake mutant;
    const char *name, *scene;
  } table[] = {
      {mistake::hand_after_head, "in hand only after it is taken", "queue: get"},
      {mistake::unlocked_get, "unlocked before it is taken", "queue: get"},
      {mistake::tail_before_payload, "visible before it is whole", "queue: put"},
      {mistake::own_after_tail, "visible before its memory is owned", "queue: put of a large message"},
      {mistake::unsettled_take_over, "nothing dropped at a take-over", "queue: get"},
      {mistake::untidy_take_over, "nothing mended at a take-over", "queue: put of a large message into a used body"},
      {mistake::pipe_before_payload, "visible before it is whole, in a pipe", "pipe: put"},
  };
  tally all{"mutants"};
  std::size_t caught = 0;
  for (const auto& row : table) {
    for (const scene& s : scenes) {
      if (s.name != row.scene) continue;
      mp::ring::mutant = mistake::none;
      tally quiet{"without the mistake"};
      const sweep_figures right = sweep(s, grain::change, quiet);
      mp::ring::mutant = row.mutant;
      tally expected{"expected"};
      const sweep_figures wrong = sweep(s, grain::change, expected);
      std::printf("mutant: %s: %zu of %zu points caught it (%zu without the mistake)\n", row.name, wrong.violations,
                  wrong.points, right.violations);
      caught += wrong.violations > 0 && right.violations == 0;
      all.check(wrong.violations > 0 && right.violations == 0, row.name);
    }
  }
  std::printf("figure: mutants: %zu of %zu caught by the kill sweep\n", caught, std::size(table));
  return all.finish();
}
