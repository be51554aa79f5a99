"""What is measured, by which programs, and what libmp has to reach. README.md says what each case means."""
import dataclasses
import os
import shutil


@dataclasses.dataclass(frozen=True)
class Goal:
    """libmp's figure divided by another's, or (against None) the figure itself, must stay on the good side of bound."""

    against: str | None  # "limit", "best peer", who, or None
    bound: float
    metric: str = ""  # "": the first of the case


@dataclasses.dataclass(frozen=True)
class Program:
    file: str  # in the build directory; *.py, *.js, *.erl and *.cpp in this one
    arguments: tuple = ()
    ranks: int = 0  # under mpirun
    one_core: bool = False


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    metrics: tuple  # of (name, unit); "used, resident" and the like
    better: str
    programs: tuple
    goals: tuple
    at_most_rounds: int = 1000
    slow: bool = False  # only with --build
    is_tail: bool = False  # a slowest of hundreds: a run from which a hypervisor took processors is repeated


RANKS = {"peer_openmpi": 2, "peer_openmpi_pool": 3}


def programs(case, *files, **options):
    return tuple(Program(file, (case,), RANKS.get(file, 0), **options) for file in files)


TIME = (("p50", "us"),)
RATE = (("rate", "msg/s"),)
TASKS = (("rate", "task/s"),)
SLEEPING_POOLS = ("peer_zeromq_pool", "peers/python_pool.py", "peers/node_pool.js", "peers/erlang_pool.erl")
POOLS = (*SLEEPING_POOLS, "peer_openmpi_pool")
MEMORY = (("resident", "KiB"), ("reserved", "KiB"))

CASES = (
    Case("start", "start + join of a no-op, forkserver", TIME, "lower",
         programs("start", "libmp_start", "limit_start", "peers/python_fork.py"),
         (Goal("limit", 1.4), Goal("Python fork", 1 / 5))),
    Case("start-1gib", "the same, the parent has 1 GiB", TIME, "lower",
         programs("start-1gib", "libmp_start", "limit_start", "peers/python_fork.py"),
         (Goal("limit", 1.4), Goal("Python fork", 1 / 5))),
    Case("start-spawn", "start + join of a no-op, spawn", TIME, "lower",
         (Program("libmp_start", ("start-spawn",)), Program("libmp_start", ("start-spawn-limit",))),
         (Goal("limit", 1.5),)),
    Case("rtt-awake", "round trip 64 B, pipe, both awake", TIME, "lower",
         programs("rtt-awake", "libmp_round_trip", "limit_round_trip", "peer_openmpi"),
         (Goal("best peer", 1.0),)),
    Case("rtt-asleep", "round trip 64 B, pipe, both asleep", TIME, "lower",
         programs("rtt-asleep", "libmp_round_trip", "limit_round_trip"),
         (Goal("limit", 1.15),)),
    Case("rtt-one-core", "round trip 64 B, pipe, both on one core", TIME, "lower",
         programs("rtt-one-core", "libmp_round_trip", "limit_round_trip", one_core=True),
         (Goal("limit", 1.35),)),
    Case("stream-pipe", "stream 64 B, pipe, 1 to 1", RATE, "higher",
         programs("stream-pipe", "libmp_stream", "limit_stream", "peer_openmpi"),
         (Goal("limit", 1 / 3), Goal("best peer", 2.5))),
    Case("stream-queue-1-1", "stream 64 B, queue, 1 to 1", RATE, "higher",
         programs("stream-queue-1-1", "libmp_stream", "limit_stream", "peer_boost_message_queue", "peer_zeromq"),
         (Goal("best peer", 1.5),)),
    Case("stream-queue-2-2", "stream 64 B, queue, 2 to 2", RATE, "higher",
         programs("stream-queue-2-2", "libmp_stream", "limit_stream", "peer_boost_message_queue", "peer_zeromq"),
         (Goal("best peer", 1.5),)),
    Case("stream-1mib", "stream 1 MiB vectors, pipe", (("rate", "GB/s"),), "higher",
         programs("stream-1mib", "libmp_stream", "limit_stream", "peer_boost_message_queue", "peer_openmpi"),
         (Goal("best peer", 1.5),)),
    Case("pool-map-chunk-1-20k", "pool of 2: map of 20,000 no-ops, chunk 1", TASKS, "higher",
         programs("pool-map-chunk-1-20k", "libmp_pool", "limit_pool", *POOLS),
         (Goal("ZeroMQ pool by hand", 10), Goal("Python Pool", 100), Goal("OpenMPI by hand", 0.8))),
    Case("pool-map-chunk-1", "pool of 2: map of 1,000,000 no-ops, chunk 1", TASKS, "higher",
         programs("pool-map-chunk-1", "libmp_pool", "limit_pool", *POOLS),
         (Goal("ZeroMQ pool by hand", 10), Goal("Python Pool", 100), Goal("OpenMPI by hand", 0.8))),
    Case("pool-map", "pool of 2: map of 1,000,000 no-ops, default chunks", TASKS, "higher",
         programs("pool-map", "libmp_pool", "peers/python_pool.py"),
         (Goal("Python Pool", 8),)),
    Case("pool-submit", "pool of 2: submit and get, one at a time", TIME, "lower",
         programs("pool-submit", "libmp_pool", "limit_pool", *SLEEPING_POOLS),
         (Goal("best peer", 1.0), Goal(None, 10))),
    Case("pool-submit-asleep", "the same, both asleep", TIME, "lower",
         programs("pool-submit-asleep", "libmp_pool", "limit_pool", *SLEEPING_POOLS),
         (Goal("best peer", 1.0), Goal("limit", 1.3))),
    Case("pool-8mib", "pool of 2: 64 tasks that take and give 8 MiB", (("vectors", "task/s"), ("reused", "task/s")),
         "higher", programs("pool-8mib", "libmp_pool", "limit_pool", "peer_zeromq_pool", "peer_openmpi_pool"),
         (Goal("best peer", 1.0, "vectors"), Goal("OpenMPI by hand, fresh vectors", 5, "reused"))),
    Case("pool-death", "pool of 2: a task's worker is killed: until the caller knows", (("p99", "us"), ("p50", "us")),
         "lower", programs("pool-death", "libmp_pool", "limit_pool", "peers/python_pool.py"),
         (Goal(None, 1000, "p99"),), is_tail=True),
    Case("pool-queued-memory", "memory of a task that is queued among 1,000,000",
         (("submit", "B"), ("map_async", "B")), "lower", programs("pool-queued-memory", "libmp_pool"),
         (Goal(None, 200, "submit"), Goal(None, 200, "map_async")), at_most_rounds=3),
    Case("pool-imap-memory", "imap over 10^8 numbers: memory", (("growth", "KiB"),), "lower",
         programs("pool-imap-memory", "libmp_pool"), (Goal(None, 1024),), at_most_rounds=1),
    Case("mailbox-request", "a question to a mailbox and its answer, both awake", TIME, "lower",
         programs("mailbox-request", "libmp_actors", "limit_pool"), ()),
    Case("mailbox-request-asleep", "the same, both asleep", TIME, "lower",
         programs("mailbox-request-asleep", "libmp_actors", "limit_pool"), ()),
    Case("supervisor-restart", "a supervised child is killed: until the next one runs", TIME, "lower",
         programs("supervisor-restart", "libmp_actors"), ()),
    Case("memory-queue", "memory of an idle queue",
         MEMORY + (("used, resident", "KiB"), ("used, reserved", "KiB"), ("descriptors", "each")), "lower",
         programs("memory-queue", "libmp_memory"),
         (Goal(None, 128, "resident"), Goal(None, 128, "reserved"))),
    Case("memory-child", "memory of a parent per started child", MEMORY + (("descriptors", "each"),), "lower",
         programs("memory-child", "libmp_memory"),
         (Goal(None, 32, "resident"), Goal(None, 32, "reserved")), at_most_rounds=3),
    Case("compile", "compile a program with <mp/mp.hpp>, -O2", (("time", "s"),), "lower",
         (Program("compile/program.cpp"),), (Goal(None, 4),), at_most_rounds=3),
    Case("build", "clean build of library + samples, 2 cores", (("time", "s"),), "lower",
         (Program("meson.build"),), (Goal(None, 90),), at_most_rounds=1, slow=True),
)


def why_missing(program, build):
    """Why the program cannot run here, or None."""
    if program.ranks and not shutil.which("mpirun"):
        return "mpirun is not installed"
    if program.file.endswith(".js") and not shutil.which("node"):
        return "node is not installed"
    if program.file.endswith(".erl") and not shutil.which("erl"):
        return "erlang is not installed"
    if program.file.endswith((".py", ".js", ".erl", ".cpp", "meson.build")):
        return None
    if not os.access(os.path.join(build, program.file), os.X_OK):
        return "not built: what it needs was not installed when the build was configured"
    return None
