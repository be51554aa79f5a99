# Sourced by ./bench/run: the peers. One that cannot be installed is left out by name; the benchmark runs without it.

# peer NAME PROBE PACKAGES: installs the packages unless the probe says that the peer is there.
peer() {
  local name=$1 probe=$2 package list=''; shift 2
  ! eval "$probe" >/dev/null 2>&1 || return 0
  for package; do list+="$package -"$'\n'; done
  (install "$list") || { say "left out: $name"; return 0; }
  rm -f "$top/build/bench/.options"  # configure again: the build looks for its peers then
}
install 'python3 python3'
peer OpenMPI 'command -v mpirun && pkg-config --exists ompi' libopenmpi-dev openmpi-bin
peer ZeroMQ 'pkg-config --exists libzmq && [ -e /usr/include/zmq.hpp ]' libzmq3-dev cppzmq-dev
peer Node 'command -v node' nodejs
peer Erlang 'command -v erl && command -v erlc' erlang-base
