// Peer: a pool of 2 workers by hand on OpenMPI, three ranks under mpirun: the master keeps each worker busy. Its waits
// spin; a rank that dies ends the whole job.

#define OMPI_SKIP_MPICXX 1  // the C++ bindings are not used, and they warn
#include <mpi.h>

#include "../support/bench.hpp"
#include "../support/vectors.hpp"

namespace {

using namespace bench;

constexpr int task_tag = 1, stop_tag = 2, workers = 2;

double map_rate() {
  constexpr int count = 1'000'000, ahead = 64;
  const auto start = clock::now();
  int sent = 0, value = 0;
  const auto send = [&](int to) {
    MPI_Send(&sent, 1, MPI_INT, to, task_tag, MPI_COMM_WORLD);
    ++sent;
  };
  for (int i = 0; i < ahead; ++i)
    for (int w = 1; w <= workers; ++w) send(w);
  for (int got = 0; got < count; ++got) {
    MPI_Status status;
    MPI_Recv(&value, 1, MPI_INT, MPI_ANY_SOURCE, task_tag, MPI_COMM_WORLD, &status);
    if (sent < count) send(status.MPI_SOURCE);
  }
  return count / seconds(clock::now() - start);
}

/// Fresh vectors for the results, as a library that returns them must have; tasks and results are copied once each.
double vector_rate() {
  const std::vector<double> task(vector_length, 1.5);
  std::vector<double> rates;
  for (int round = 0; round < vector_rounds; ++round) {
    std::vector<std::vector<double>> results;
    const auto start = clock::now();
    int sent = 0;
    const auto send = [&](int to) {
      MPI_Send(task.data(), static_cast<int>(vector_length), MPI_DOUBLE, to, task_tag, MPI_COMM_WORLD);
      ++sent;
    };
    for (int w = 1; w <= workers; ++w) send(w);
    for (int got = 0; got < vector_tasks; ++got) {
      MPI_Status status;
      MPI_Probe(MPI_ANY_SOURCE, task_tag, MPI_COMM_WORLD, &status);
      results.emplace_back(vector_length);
      MPI_Recv(results.back().data(), static_cast<int>(vector_length), MPI_DOUBLE, status.MPI_SOURCE, task_tag,
               MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      if (sent < vector_tasks) send(status.MPI_SOURCE);
    }
    rates.push_back(vector_tasks / seconds(clock::now() - start));
    for (const auto& r : results) consume(r.data(), r.size() * sizeof(double));
  }
  return median(std::move(rates));
}

void work_on_numbers() {
  for (int value = 0;;) {
    MPI_Status status;
    MPI_Recv(&value, 1, MPI_INT, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    if (status.MPI_TAG == stop_tag) return;
    MPI_Send(&value, 1, MPI_INT, 0, task_tag, MPI_COMM_WORLD);
  }
}

void work_on_vectors() {
  std::vector<double> in(vector_length), out(vector_length);
  for (;;) {
    MPI_Status status;
    MPI_Recv(in.data(), static_cast<int>(vector_length), MPI_DOUBLE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    if (status.MPI_TAG == stop_tag) return;
    scale(in, out);
    MPI_Send(out.data(), static_cast<int>(vector_length), MPI_DOUBLE, 0, task_tag, MPI_COMM_WORLD);
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const std::string_view name = argc > 1 ? argv[1] : "";
  const bool vectors = name == "pool-vectors";
  if (rank != 0) {
    vectors ? work_on_vectors() : work_on_numbers();
  } else {
    emit(name, {"OpenMPI pool by hand", "peer", "spins"}, "rate", vectors ? vector_rate() : map_rate(), "task/s");
    for (int w = 1; w <= workers; ++w) MPI_Send(&rank, vectors ? 0 : 1, MPI_INT, w, stop_tag, MPI_COMM_WORLD);
  }
  MPI_Finalize();
}
