"""Peer: Python's multiprocessing.Pool of 2 workers, tasks that do nothing."""
import multiprocessing
import statistics
import sys
import time


def same(x):
    return x


def emit(case, metric, value, unit):
    print("\t".join((case, "Python Pool", "peer", metric, "%.6g" % value, unit, "sleeps")), flush=True)


def main():
    case = sys.argv[1]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        if case in ("pool-map", "pool-map-chunk-1"):
            count = 1_000_000 if case == "pool-map" else 20_000
            rates = []
            for _ in range(3):
                start = time.perf_counter()
                pool.map(same, range(count), None if case == "pool-map" else 1)
                rates.append(count / (time.perf_counter() - start))
            emit(case, "rate", statistics.median(rates), "task/s")
        else:
            times = []
            for _ in range(1000):
                if case == "pool-submit-asleep":
                    until = time.perf_counter() + 0.0003
                    while time.perf_counter() < until:
                        pass
                start = time.perf_counter()
                pool.apply(same, (1,))
                times.append((time.perf_counter() - start) * 1e6)
            emit(case, "p50", statistics.median(times), "us")


if __name__ == "__main__":
    main()
