// Peer: OpenMPI, two ranks under mpirun, blocking sends and receives. Its waits spin: it never sleeps.

#define OMPI_SKIP_MPICXX 1  // the C++ bindings are not used, and they warn
#include <mpi.h>

#include "../support/bench.hpp"
#include "../support/round_trip.hpp"

namespace {

using namespace bench;

constexpr int data_tag = 1, stop_tag = 2, last_tag = 3;

void send(const void* from, std::size_t size, int rank, int tag = data_tag) {
  MPI_Send(from, static_cast<int>(size), MPI_BYTE, rank, tag, MPI_COMM_WORLD);
}
/// Gives the tag.
int receive(void* to, std::size_t size, int rank, int tag = MPI_ANY_TAG) {
  MPI_Status status;
  MPI_Recv(to, static_cast<int>(size), MPI_BYTE, rank, tag, MPI_COMM_WORLD, &status);
  return status.MPI_TAG;
}

void round_trip(std::string_view name, int rank) {
  message m{};
  if (rank == 1) {
    while (receive(&m, sizeof m, 0) != stop_tag) send(&m, sizeof m, 0);
    return;
  }
  const auto p50 = round_trip_awake([&](const message& out) {
    message in;
    send(&out, sizeof out, 1);
    receive(&in, sizeof in, 1, data_tag);
    return in;
  });
  send(&m, sizeof m, 1, stop_tag);
  emit(name, {"OpenMPI", "peer", "spins"}, "p50", p50, "us");
}

/// Rank 1 produces until it is told to stop; rank 0 measures.
template <class Fill, class Consume>
double stream(int rank, void* buffer, std::size_t size, int group, Fill fill_it, Consume consume_it) {
  if (rank == 1) {
    int stop = 0;
    for (std::uint64_t n = 0; stop == 0; ++n) {
      fill_it(n);
      send(buffer, size, 0);
      if (n % static_cast<std::uint64_t>(16 * group) == 0)
        MPI_Iprobe(0, stop_tag, MPI_COMM_WORLD, &stop, MPI_STATUS_IGNORE);
    }
    send(buffer, size, 0, last_tag);
    receive(buffer, size, 0, stop_tag);
    return 0;
  }
  const auto result = rate(
      [&] {
        receive(buffer, size, 1, data_tag);
        consume_it();
      },
      group);
  MPI_Request request;
  char stop = 0;
  MPI_Isend(&stop, 1, MPI_BYTE, 1, stop_tag, MPI_COMM_WORLD, &request);
  while (receive(buffer, size, 1) != last_tag) {
  }
  MPI_Wait(&request, MPI_STATUS_IGNORE);
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const std::string_view name = argc > 1 ? argv[1] : "";
  int rank = 0, ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  int code = 0;
  const identity me{"OpenMPI", "peer", "spins"};
  if (ranks != 2) {
    std::fprintf(stderr, "openmpi: run it as two ranks: mpirun -np 2\n");
    code = 2;
  } else if (name == "rtt-awake") {
    round_trip(name, rank);
  } else if (name == "stream-pipe") {
    message m;
    const auto found = stream(
        rank, &m, sizeof m, 256, [&](std::uint64_t n) { fill(m, n); }, [&] { consume(m); });
    if (rank == 0) emit(name, me, "rate", found, "msg/s");
  } else if (name == "stream-1mib") {
    std::vector<std::byte> own(large);
    const auto found = stream(
        rank, own.data(), large, 4, [&](std::uint64_t n) { fill(own.data(), large, n); },
        [&] { consume(own.data(), large); });
    if (rank == 0) emit(name, me, "rate", found * large / 1e9, "GB/s");
  } else {
    std::fprintf(stderr, "openmpi: no case \"%s\"\n", argc > 1 ? argv[1] : "");
    code = 2;
  }
  MPI_Finalize();
  return code;
}
