// Kills at every point of every operation of the shared-memory channel, and lets a survivor judge (FAULTS rows 1, 2, 9,
// 12, 14 to 16). Short form: every change of shared memory and every system call, and every single instruction of the
// most frequent operations. Long form: every instruction of all of them.

#include "sweep.hpp"

#include <algorithm>
#include <chrono>

int main(int argc, char** argv) {
  using namespace mp_fault;
  bind_now(argv);
  use_one_processor();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string only = argc > 1 ? argv[1] : "";
  tally all{"kill sweep"};
  std::vector<scene> scenes = queue_scenes();
  for (auto&& more : {pipe_scenes(), handle_scenes()}) scenes.insert(scenes.end(), more.begin(), more.end());
  std::size_t points = 0, kills = 0, violations = 0;
  double longest = 0;
  for (const scene& s : scenes) {
    if (s.name.find(only) == std::string::npos) continue;
    const auto began = std::chrono::steady_clock::now();
    const auto run = [&](grain g, const char* what) {
      const sweep_figures f = sweep(s, g, all);
      points += f.points;
      ++kills;
      violations += f.violations;
      longest = std::max(longest, f.longest_takeover_ms);
      std::printf("%s: %zu %s (%zu instructions), %zu violations, longest wait %.0f ms, %.1f s\n", s.name.c_str(),
                  f.points, what, f.instructions, f.violations, f.longest_takeover_ms,
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    };
    run(grain::change, "changes");
    if (s.is_main || long_form()) run(grain::instruction, "instructions");
  }
  std::printf("figure: kill sweep: %zu operations, %zu points, %zu violations, longest wait for a dead owner %.0f ms\n",
              kills, points, violations, longest);
  return all.finish();
}
