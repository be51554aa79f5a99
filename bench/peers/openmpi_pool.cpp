// Peer: a master and 2 workers by hand on OpenMPI, three ranks under mpirun. Its waits spin (and yield, so that three
// ranks get along with two processors). No task is known to anybody: a worker that dies ends them all.

#define OMPI_SKIP_MPICXX 1  // the C++ bindings are not used, and they warn
#include <mpi.h>

#include "../support/pool.hpp"

namespace {

using namespace bench;

constexpr int task_tag = 1, stop_tag = 2;

void stop_workers() {
  for (int rank = 1; rank <= workers; ++rank) MPI_Send(nullptr, 0, MPI_BYTE, rank, stop_tag, MPI_COMM_WORLD);
}

void answer_ints() {
  for (;;) {
    int task = 0;
    MPI_Status status;
    MPI_Recv(&task, 1, MPI_INT, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    if (status.MPI_TAG == stop_tag) return;
    MPI_Send(&task, 1, MPI_INT, 0, task_tag, MPI_COMM_WORLD);
  }
}

double map_rate(int tasks) {
  constexpr int ahead = 64;  // of each worker
  std::vector<int> results(static_cast<std::size_t>(tasks));
  return task_rate(tasks, [&] {
    int sent = 0;
    for (; sent < std::min(tasks, workers * ahead); ++sent)
      MPI_Send(&sent, 1, MPI_INT, 1 + sent % workers, task_tag, MPI_COMM_WORLD);
    for (int got = 0; got < tasks; ++got) {
      int result = 0;
      MPI_Status status;
      MPI_Recv(&result, 1, MPI_INT, MPI_ANY_SOURCE, task_tag, MPI_COMM_WORLD, &status);
      results[static_cast<std::size_t>(result)] = result;
      if (sent == tasks) continue;
      MPI_Send(&sent, 1, MPI_INT, status.MPI_SOURCE, task_tag, MPI_COMM_WORLD);
      ++sent;
    }
  });
}

void answer_large() {
  const auto values = fresh_result();  // one for all tasks
  for (;;) {
    MPI_Status status;
    MPI_Recv(values.get(), large_doubles, MPI_DOUBLE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    if (status.MPI_TAG == stop_tag) return;
    scale(values.get());
    MPI_Send(values.get(), large_doubles, MPI_DOUBLE, 0, task_tag, MPI_COMM_WORLD);
  }
}

/// `place` gives the memory for a result, `take` gets it there.
template <class Place, class Take, class Finish = decltype([] {})>
double large_rate(Place place, Take take, Finish finish = {}) {
  const std::vector<double> in(large_doubles, 1.5);
  return task_rate(large_tasks, [&] {
    std::array<MPI_Request, workers> sending{}, receiving{};
    const auto give = [&](int lane, int task) {
      const auto at = static_cast<std::size_t>(lane);
      MPI_Irecv(place(lane, task), large_doubles, MPI_DOUBLE, 1 + lane, task_tag, MPI_COMM_WORLD, &receiving[at]);
      MPI_Isend(in.data(), large_doubles, MPI_DOUBLE, 1 + lane, task_tag, MPI_COMM_WORLD, &sending[at]);
    };
    for (int lane = 0; lane < workers; ++lane) give(lane, lane);
    for (int got = 0, sent = workers; got < large_tasks; ++got) {
      int lane = 0;
      MPI_Waitany(workers, receiving.data(), &lane, MPI_STATUS_IGNORE);
      MPI_Wait(&sending[static_cast<std::size_t>(lane)], MPI_STATUS_IGNORE);
      take(lane, in.data());
      if (sent < large_tasks) give(lane, sent++);
    }
    finish();
  });
}

void large_values(std::string_view name) {
  std::vector<std::unique_ptr<double[]>> results(large_tasks);
  std::array<double*, workers> latest{};
  const auto fresh = [&](int lane, int task) {
    auto& to = results[static_cast<std::size_t>(task)];
    to = fresh_result();
    return latest[static_cast<std::size_t>(lane)] = to.get();
  };
  const auto check_it = [&](int lane, const double* in) { check_scaled(in, latest[static_cast<std::size_t>(lane)]); };
  // Nobody keeps the results of all runs: the memory of the next ones is fresh, too.
  const double kept = large_rate(fresh, check_it, [&] {
    for (auto& r : results) r.reset();
  });
  emit(name, {"OpenMPI by hand", "peer", "spins"}, "vectors", kept, "task/s");
  emit(name, {"OpenMPI by hand, fresh vectors", "means", "spins"}, "reused", kept, "task/s");

  const std::array<std::unique_ptr<double[]>, workers> own{fresh_result(), fresh_result()};
  const auto of = [&](int lane) { return own[static_cast<std::size_t>(lane)].get(); };
  const double reused = large_rate([&](int lane, int) { return of(lane); },
                                   [&](int lane, const double*) { consume(of(lane), large_bytes); });
  emit(name, {"OpenMPI by hand, reused buffers", "peer", "spins"}, "reused", reused, "task/s");
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  int rank = 0, ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  int code = 0;
  const bool ints = name.starts_with("pool-map-chunk-1");
  if (ranks != 1 + workers) {
    std::fprintf(stderr, "openmpi_pool: run it as three ranks: mpirun -np 3\n");
    code = 2;
  } else if (!ints && name != "pool-8mib") {
    std::fprintf(stderr, "openmpi_pool: no case \"%s\"\n", argc > 1 ? argv[1] : "");
    code = 2;
  } else if (rank > 0) {
    ints ? answer_ints() : answer_large();
  } else {
    if (ints)
      emit(name, {"OpenMPI by hand", "peer", "spins"}, "rate", map_rate(tasks_of(name)), "task/s");
    else
      large_values(name);
    stop_workers();
  }
  MPI_Finalize();
  return code;
}
