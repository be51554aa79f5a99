"""Peer: Python's own pools of 2 workers: multiprocessing.Pool and concurrent.futures.ProcessPoolExecutor."""
import concurrent.futures
import concurrent.futures.process
import multiprocessing
import os
import signal
import statistics
import sys
import time

FORK = multiprocessing.get_context("fork")
FEW = 20_000  # tasks at a chunk of 1: a million would take half a minute, at the same rate


def same(x):
    return x


def think():
    """Keeps the processor for 300 us, and says how long that was."""
    begin = time.perf_counter()
    while time.perf_counter() < begin + 0.0003:
        pass
    return time.perf_counter() - begin


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def emit(case, who, metric, value, unit):
    print("\t".join((case, who, "peer", metric, "%.6g" % value, unit, "sleeps")), flush=True)


def rate(run, count):
    rates = []
    for _ in range(3):
        begin = time.perf_counter()
        run(range(count))
        rates.append(count / (time.perf_counter() - begin))
    return statistics.median(rates)


def one_by_one(run, asleep):
    """Microseconds of run(function, arguments). Asleep: both sides think, and the task's own time is taken off."""
    times = []
    end = time.perf_counter() + 0.8
    while time.perf_counter() < end:
        if asleep:
            think()
        begin = time.perf_counter()
        spent = run(think, ()) if asleep else run(same, (0,))
        times.append((time.perf_counter() - begin - spent) * 1e6)
    return statistics.median(times)


def time_of_death():
    """From submit to BrokenProcessPool; the executor is of no more use then."""
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as pool:
        pool.submit(same, 1).result()
        begin = time.perf_counter()
        try:
            pool.submit(die, 1).result()
        except concurrent.futures.process.BrokenProcessPool:
            pass
        return (time.perf_counter() - begin) * 1e6


def main():
    case = sys.argv[1]
    if case == "pool-death":
        times = sorted(time_of_death() for _ in range(50))
        emit(case, "ProcessPoolExecutor, broken then", "p50", statistics.median(times), "us")
        emit(case, "ProcessPoolExecutor, broken then", "p99", times[-1], "us")
        return
    with FORK.Pool(2) as pool, concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as executor:
        if case == "pool-map":
            emit(case, "Python Pool", "rate", rate(lambda items: pool.map(same, items), 1_000_000), "task/s")
        elif case.startswith("pool-map-chunk-1"):
            emit(case, "Python Pool", "rate", rate(lambda items: pool.map(same, items, 1), FEW), "task/s")
        elif case in ("pool-submit", "pool-submit-asleep"):
            asleep = case.endswith("asleep")
            emit(case, "Python Pool", "p50", one_by_one(pool.apply, asleep), "us")
            emit(case, "ProcessPoolExecutor", "p50",
                 one_by_one(lambda f, a: executor.submit(f, *a).result(), asleep), "us")
        else:
            sys.exit("python_pool: no case %r" % case)


if __name__ == "__main__":
    main()
